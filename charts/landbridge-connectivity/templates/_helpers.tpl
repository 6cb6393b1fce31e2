{{- /*
Everything here is named "connectivity.": helper names are global, and those of the chart landbridge are beside them where it
is a part of this one.
*/ -}}

{{- define "connectivity.name" -}}
landbridge-connectivity{{ with .Values.chart.nameSuffix }}-{{ trimPrefix "-" . }}{{ end }}
{{- end }}

{{- define "connectivity.labels" -}}
app.kubernetes.io/name: landbridge
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: proxy
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: landbridge
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: landbridge-connectivity-{{ .Chart.Version | replace "+" "_" }}
landbridge.dev/mode: connectivity
{{- end }}

{{- /* What selects the pods; never to be changed, StatefulSets refuse it. */ -}}
{{- define "connectivity.selector" -}}
app.kubernetes.io/name: landbridge
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: proxy
landbridge.dev/mode: connectivity
{{- end }}

{{- define "connectivity.image" -}}
{{- $image := .Values.deployment.image -}}
{{- $path := compact (list $image.registry $image.repository) | join "/" -}}
{{- if $image.digest -}}
{{ $path }}@{{ $image.digest }}
{{- else -}}
{{ $path }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "connectivity.pullSecrets" -}}
{{- $image := .Values.deployment.image -}}
{{- with compact (prepend $image.pullSecrets $image.pullSecret) -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* As whom pods run: Pod Security "restricted". */ -}}
{{- define "connectivity.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "connectivity.container" -}}
image: {{ include "connectivity.image" . }}
imagePullPolicy: {{ .Values.deployment.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- /* The destination service instances as a JSON list: name, secret, key. */ -}}
{{- define "connectivity.instances" -}}
{{- $service := .Values.config.integration.destinationService -}}
{{- $own := or $service.instances $service.serviceCredentials.secretName -}}
{{- $values := index .Values "transparent-proxy" -}}
{{- if and $values.enabled (not $own) -}}
{{- include "landbridge.instances" (dict "Values" $values "Release" .Release) -}}
{{- else -}}
{{- $list := $service.instances -}}
{{- if not $list -}}
{{- $name := $service.defaultInstanceName | default "default" -}}
{{- $list = list (dict "name" $name "serviceCredentials" $service.serviceCredentials) -}}
{{- end -}}
{{- $result := list -}}
{{- range $list -}}
{{- $secret := .serviceCredentials.secretName | default "destination-service-key" -}}
{{- $key := .serviceCredentials.secretKey | default "service_key" -}}
{{- $result = append $result (dict "name" .name "secret" $secret "key" $key) -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}
{{- end }}

{{- define "connectivity.defaultInstance" -}}
{{- $values := index .Values "transparent-proxy" -}}
{{- $own := .Values.config.integration.destinationService.defaultInstanceName -}}
{{- if $own -}}
{{ $own }}
{{- else if $values.enabled -}}
{{ $values.config.integration.destinationService.defaultInstanceName }}
{{- end -}}
{{- end }}

{{- /* A deadline of calls to the destination service: its own, else that of Landbridge. */ -}}
{{- define "connectivity.deadline" -}}
{{- $values := index .root.Values "transparent-proxy" -}}
{{- $usual := dict "connectionTimeoutSeconds" 5 "readTimeoutSeconds" 10 -}}
{{- if $values.enabled }}{{ $usual = $values.config.integration.destinationService }}{{ end -}}
{{ get .root.Values.config.integration.destinationService .name | default (get $usual .name) | int }}
{{- end }}

{{- /* The one whose subaccount enrolment tokens are for. */ -}}
{{- define "connectivity.defaultKeyFile" -}}
{{- $instances := include "connectivity.instances" . | fromJsonArray -}}
{{- $wanted := include "connectivity.defaultInstance" . | default (first $instances).name -}}
{{- range $instances -}}
{{- if eq .name $wanted -}}
/etc/landbridge/keys/{{ .name }}/{{ .key }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Additional authorities as a JSON object: secret and key; empty where there are none. */ -}}
{{- define "connectivity.additional" -}}
{{- $values := index .Values "transparent-proxy" -}}
{{- $result := dict -}}
{{- if .Values.additionalCAs.secretName -}}
{{- $result = dict "secret" .Values.additionalCAs.secretName "key" .Values.additionalCAs.secretKey -}}
{{- else if and $values.enabled $values.additionalCAs.secretName -}}
{{- $secret := include "landbridge.additionalSecret" (dict "Values" $values "Release" .Release) -}}
{{- $result = dict "secret" $secret "key" $values.additionalCAs.secretKey -}}
{{- end -}}
{{- toJson $result -}}
{{- end }}

{{- /* Replicas that have a Service, a host and a place in the ingress: all that there can be. */ -}}
{{- define "connectivity.most" -}}
{{- $horizontal := .Values.deployment.autoscaling.horizontal -}}
{{- ternary (max $horizontal.maxReplicaCount .Values.deployment.replicaCount) (.Values.deployment.replicaCount | int) $horizontal.enabled -}}
{{- end }}

{{- /*
What connectors reach, as a JSON list of: service (its name), host (empty without an external one), pod (empty: any).
One entry; with the mode subdomain one for each replica, because each has an authority of its own.
*/ -}}
{{- define "connectivity.entrances" -}}
{{- $name := include "connectivity.name" . -}}
{{- $host := .Values.config.servers.businessDataTunnel.externalHost -}}
{{- $result := list -}}
{{- if eq .Values.config.highAvailabilityMode "subdomain" -}}
{{- range $index := until (include "connectivity.most" . | int) -}}
{{- $pod := printf "%s-%d" $name $index -}}
{{- $own := ternary (printf "%s.%s" $pod $host) "" (not (empty $host)) -}}
{{- $port := 0 -}}
{{- if lt $index (len $.Values.service.nodePorts) -}}
{{- $port = index $.Values.service.nodePorts $index -}}
{{- end -}}
{{- $result = append $result (dict "service" $pod "host" $own "pod" $pod "nodePort" $port) -}}
{{- end -}}
{{- else -}}
{{- $result = append $result (dict "service" $name "host" $host "pod" "" "nodePort" (.Values.service.nodePort | default 0)) -}}
{{- end -}}
{{- toJson $result -}}
{{- end }}

{{- /* Names in the certificate of a pod. $(POD_NAME) is put in by the kubelet. */ -}}
{{- define "connectivity.tunnelNames" -}}
{{- $name := include "connectivity.name" . -}}
{{- $names := list -}}
{{- $subdomain := eq .Values.config.highAvailabilityMode "subdomain" -}}
{{- $first := ternary "$(POD_NAME)" $name $subdomain -}}
{{- with .Values.config.servers.businessDataTunnel.externalHost -}}
{{- $names = append $names (ternary (printf "$(POD_NAME).%s" .) . $subdomain) -}}
{{- end -}}
{{- $names = append $names $first -}}
{{- $names = append $names (printf "%s.%s" $first .Release.Namespace) -}}
{{- $names = append $names (printf "%s.%s.svc" $first .Release.Namespace) -}}
{{- $names = append $names (printf "%s.%s.svc.cluster.local" $first .Release.Namespace) -}}
{{- $names = append $names (printf "$(POD_NAME).%s-replicas.%s.svc" $name .Release.Namespace) -}}
{{- $names = append $names (printf "$(POD_NAME).%s-replicas.%s.svc.cluster.local" $name .Release.Namespace) -}}
{{- concat $names .Values.config.servers.businessDataTunnel.names | uniq | join "," -}}
{{- end }}

{{- define "connectivity.servicePort" -}}
{{- $tunnel := .Values.config.servers.businessDataTunnel -}}
{{- $usual := ternary $tunnel.externalPort $tunnel.port (eq .Values.service.type "LoadBalancer") -}}
{{ .Values.service.port | default $usual | int }}
{{- end }}

{{- /* "true" or nothing. */ -}}
{{- define "connectivity.ingress" -}}
{{- if kindIs "bool" .Values.ingress.enabled -}}
{{- if .Values.ingress.enabled }}true{{ end -}}
{{- else if eq .Values.service.type "ClusterIP" -}}
true
{{- end -}}
{{- end }}

{{- /* Secret of the certificate of the health check, or nothing: there is none from outside then. */ -}}
{{- define "connectivity.healthSecret" -}}
{{- if include "connectivity.ingress" . -}}
{{- $own := .Values.ingress.healthcheck.tls -}}
{{- $shared := .Values.ingress.tls -}}
{{- $made := printf "%s-healthcheck" (include "connectivity.name" .) -}}
{{- if or $own.secretName $own.secretData.certificate -}}
{{ $own.secretName | default $made }}
{{- else if or $shared.secretName $shared.secretData.certificate -}}
{{ $shared.secretName | default $made }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Host (and port where it differs) of the health check. */ -}}
{{- define "connectivity.healthHost" -}}
healthcheck.{{ .Values.config.servers.businessDataTunnel.externalHost }}
{{- end }}

{{- /* Address to listen on, as hosts in HOST:PORT have it. */ -}}
{{- define "connectivity.listen" -}}
{{- if or .Values.ipv6.enabled (has "IPv6" .Values.ipFamilies) (eq .Values.ipFamilyPolicy "RequireDualStack") -}}
[::]
{{- else -}}
0.0.0.0
{{- end -}}
{{- end }}

{{- define "connectivity.ipFamilies" -}}
{{- $fields := dict -}}
{{- with .Values.ipFamilyPolicy }}{{ $_ := set $fields "ipFamilyPolicy" . }}{{ end -}}
{{- with .Values.ipFamilies }}{{ $_ := set $fields "ipFamilies" . }}{{ end -}}
{{- if $fields -}}
{{ toYaml $fields }}
{{- end -}}
{{- end }}
