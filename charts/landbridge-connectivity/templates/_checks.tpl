{{- /* What a schema cannot say. Each failure tells what to do. */ -}}
{{- define "connectivity.check" -}}
{{- include "connectivity.checkModes" . -}}
{{- include "connectivity.checkReplicas" . -}}
{{- include "connectivity.checkEntrance" . -}}
{{- include "connectivity.checkInstances" . -}}
{{- $image := .Values.deployment.image -}}
{{- if regexMatch "connectivity-proxy|^sapse(/|$)" $image.repository -}}
{{- fail (printf "deployment.image.repository: %s is the image of another product: remove registry, repository and tag, or name the image of Landbridge" $image.repository) -}}
{{- end -}}
{{- if and .Values.additionalCAs.secretName (not .Values.additionalCAs.secretKey) -}}
{{- fail (printf "additionalCAs.secretKey: say which key of the Secret %s holds the certificates (PEM)" .Values.additionalCAs.secretName) -}}
{{- end -}}
{{- range list "healthcheck" "" -}}
{{- $path := ternary "ingress.tls" (printf "ingress.%s.tls" .) (eq . "") -}}
{{- $tls := ternary $.Values.ingress.tls $.Values.ingress.healthcheck.tls (eq . "") -}}
{{- if ne (empty $tls.secretData.certificate) (empty $tls.secretData.key) -}}
{{- fail (printf "%s.secretData: certificate and key belong together: set both, or neither" $path) -}}
{{- end -}}
{{- range $part := list "certificate" "key" -}}
{{- $data := get $tls.secretData $part | replace "\n" "" -}}
{{- if and $data (not (contains "-----BEGIN " (b64dec $data))) -}}
{{- fail (printf "%s.secretData.%s: it is no base64-encoded PEM: encode the file, as with base64 -w0 tls.crt" $path $part) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "connectivity.checkModes" -}}
{{- $config := .Values.config -}}
{{- $servers := $config.servers.proxy -}}
{{- if eq $config.tenantMode "shared" -}}
{{- fail "config.tenantMode: shared is not supported: an installation serves one subaccount, and calls of all tenants would be made on its behalf: set dedicated, and install once for each subaccount" -}}
{{- end -}}
{{- if $config.multiRegionMode.enabled -}}
{{- fail "config.multiRegionMode.enabled: there is no such mode: set it to false, and name the service keys of the regions under config.integration.destinationService.instances" -}}
{{- end -}}
{{- if $servers.http.enabled -}}
{{- fail (printf "config.servers.proxy.http.enabled: this version has no HTTP proxy server (port %d): declare a Destination for each system, let workloads call http://NAME instead, and set it to false; docs/how-to/migrate.md says how, with the old proxy running beside" ($servers.http.port | int)) -}}
{{- end -}}
{{- if $servers.rfcAndLdap.enabled -}}
{{- fail (printf "config.servers.proxy.rfcAndLdap.enabled: this version has no RFC and LDAP proxy server (port %d): declare a TCP Destination for LDAP, leave RFC on the old proxy, and set it to false" ($servers.rfcAndLdap.port | int)) -}}
{{- end -}}
{{- if eq $config.highAvailabilityMode "path" -}}
{{- fail "config.highAvailabilityMode: path needs an ingress that reads the requests, and the tunnel is TLS from end to end: set subdomain, where each replica has a host of its own" -}}
{{- end -}}
{{- end }}

{{- define "connectivity.checkReplicas" -}}
{{- $deployment := .Values.deployment -}}
{{- $horizontal := $deployment.autoscaling.horizontal -}}
{{- $several := or $horizontal.enabled (gt ($deployment.replicaCount | int) 1) -}}
{{- if and $horizontal.enabled $deployment.autoscaling.vertical.enabled -}}
{{- fail "deployment.autoscaling: horizontal and vertical are both enabled, and they exclude each other: enable one of them" -}}
{{- end -}}
{{- if and $several (ne .Values.config.highAvailabilityMode "subdomain") -}}
{{- $path := ternary "deployment.autoscaling.horizontal.enabled" "deployment.replicaCount" $horizontal.enabled -}}
{{- fail (printf "%s: several replicas need config.highAvailabilityMode subdomain, because each has an authority and enrolments of its own, which connectors must be able to tell apart: set it, or take one replica" $path) -}}
{{- end -}}
{{- if and $horizontal.enabled (lt ($horizontal.maxReplicaCount | int) ($deployment.replicaCount | int)) -}}
{{- fail (printf "deployment.autoscaling.horizontal.maxReplicaCount: %d is less than the %d replicas to start with: raise it" ($horizontal.maxReplicaCount | int) ($deployment.replicaCount | int)) -}}
{{- end -}}
{{- end }}

{{- define "connectivity.checkEntrance" -}}
{{- $tunnel := .Values.config.servers.businessDataTunnel -}}
{{- if and (include "connectivity.ingress" .) (not $tunnel.externalHost) -}}
{{- fail "config.servers.businessDataTunnel.externalHost: say under which host connectors reach this cluster, as in tunnel.example.com; or set ingress.enabled to false where they reach the Service without an ingress" -}}
{{- end -}}
{{- $subdomain := eq .Values.config.highAvailabilityMode "subdomain" -}}
{{- if and $subdomain .Values.service.nodePort -}}
{{- fail "service.nodePort: with config.highAvailabilityMode subdomain each replica has a Service: list their ports under service.nodePorts" -}}
{{- end -}}
{{- if and .Values.service.nodePorts (not $subdomain) -}}
{{- fail "service.nodePorts: one replica has one Service: set service.nodePort" -}}
{{- end -}}
{{- if and (or .Values.service.nodePort .Values.service.nodePorts) (eq .Values.service.type "ClusterIP") -}}
{{- fail "service.nodePort: a Service of type ClusterIP has none: set service.type to NodePort, or remove it" -}}
{{- end -}}
{{- end }}

{{- define "connectivity.checkInstances" -}}
{{- $path := "config.integration.destinationService" -}}
{{- $service := .Values.config.integration.destinationService -}}
{{- if and $service.instances (or $service.serviceCredentials.secretName $service.serviceCredentials.secretKey) -}}
{{- fail (printf "%s: serviceCredentials and instances are both set: move the former into instances" $path) -}}
{{- end -}}
{{- $names := list -}}
{{- range include "connectivity.instances" . | fromJsonArray -}}
{{- if has .name $names -}}
{{- fail (printf "%s.instances: two instances are named %s: give each a name of its own" $path .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- with include "connectivity.defaultInstance" . -}}
{{- if not (has . $names) -}}
{{- fail (printf "%s.defaultInstanceName: %s is none of the instances (%s): name one of those" $path . (join ", " $names)) -}}
{{- end -}}
{{- end -}}
{{- end }}
