{{- /*
Everything here is named "landbridge.": helper names are global, and this chart may be a part of another one.
.Chart.Name is the alias there, so that names never come from it.
*/ -}}

{{- define "landbridge.labels" -}}
app.kubernetes.io/name: landbridge
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: landbridge
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: landbridge-{{ .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* What selects the pods of a component; never to be changed, Deployments refuse it. */ -}}
{{- define "landbridge.selector" -}}
app.kubernetes.io/name: landbridge
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- if eq .component "proxy" }}
landbridge.dev/mode: gateway
{{- end }}
{{- end }}

{{- define "landbridge.podLabels" -}}
{{ include "landbridge.labels" . }}
{{- if eq .component "operator" }}
transparent-proxy.connectivity.api.sap/component: manager
{{- else if eq .component "proxy" }}
landbridge.dev/mode: gateway
transparent-proxy.connectivity.api.sap/component: http-proxy
{{- with index .root.Values.config.integration.serviceMesh.istio "istio-injection" }}
sidecar.istio.io/inject: {{ eq . "enabled" | quote }}
{{- end }}
{{- end }}
{{- if eq .component "node" }}
landbridge.dev/mode: node
{{- end }}
{{- with (get .root.Values .component).podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "landbridge.image" -}}
{{- $image := .Values.deployment.image -}}
{{- $path := compact (list $image.registry $image.repository $image.name) | join "/" -}}
{{- if $image.digest -}}
{{ $path }}@{{ $image.digest }}
{{- else -}}
{{ $path }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* What all pods have: where the image comes from, where they may run, and as whom (Pod Security "restricted"). */ -}}
{{- define "landbridge.podSpec" -}}
{{- $own := get .root.Values .component -}}
{{- $image := .root.Values.deployment.image -}}
{{- with compact (prepend $image.pullSecrets $image.pullSecret) }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
enableServiceLinks: false
securityContext:
  {{- if eq .component "node" }}
  # A capability that is added counts for root only.
  runAsUser: 0
  runAsGroup: 0
  {{- else }}
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if hasKey $own "topologySpreadConstraints" }}
topologySpreadConstraints:
{{- with $own.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "landbridge.selector" . | nindent 8 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "landbridge.container" -}}
image: {{ include "landbridge.image" .root }}
imagePullPolicy: {{ .root.Values.deployment.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  {{- if ne .component "node" }}
  runAsNonRoot: true
  {{- end }}
  capabilities:
    drop: [ALL]
    {{- if eq .component "node" }}
    # The packet filter's rules, and sockets that take what they lead to them.
    add: [NET_ADMIN]
    {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- /* The process lives; it can serve. The startup probe gives a cold node two minutes before the liveness probe counts. */ -}}
{{- define "landbridge.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 1
  failureThreshold: 120
livenessProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 3
{{- end }}

{{- define "landbridge.env" -}}
- name: LANDBRIDGE_LOG
  value: {{ ternary "error" .root.Values.config.logging.level (eq .root.Values.config.logging.level "fatal") }}
- name: LANDBRIDGE_LOG_FORMAT
  value: {{ .root.Values.config.logging.format }}
{{- with (get .root.Values .component).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Address to listen on, as hosts in HOST:PORT have it. */ -}}
{{- define "landbridge.listen" -}}
{{- if or .Values.ipv6.enabled (has "IPv6" .Values.ipFamilies) (eq .Values.ipFamilyPolicy "RequireDualStack") -}}
[::]
{{- else -}}
0.0.0.0
{{- end -}}
{{- end }}

{{- define "landbridge.ipFamilies" -}}
{{- with .Values.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.ipFamilies }}
ipFamilies: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "landbridge.replicas" -}}
{{ max .Values.deployment.replicas.http .Values.deployment.replicas.tcp }}
{{- end }}

{{- /* Resources as the guide has them: `requests`, or `request` as one of its tables says. */ -}}
{{- define "landbridge.resources" -}}
{{- $requests := mergeOverwrite (deepCopy (.requests | default dict)) (.request | default dict) -}}
{{- with $requests }}
requests: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .limits }}
limits: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "landbridge.storeUrl" -}}
{{ ternary "https" "http" (not (empty .Values.store.tls.secretName)) }}://landbridge-store.{{ .Release.Namespace }}.svc:20080
{{- end }}

{{- /* Arguments that all proxies with keys of destination services have. */ -}}
{{- define "landbridge.proxyArgs" -}}
- --operator=https://landbridge-operator.{{ .Release.Namespace }}.svc:8443
- --operator-ca=/etc/landbridge/ca/ca.crt
- --state-file=/var/lib/landbridge/state.json
{{- range include "landbridge.instances" . | fromJsonArray }}
- --destination-service={{ .name }}=/etc/landbridge/keys/{{ .name }}/{{ .key }}
{{- end }}
{{- with .Values.config.integration.destinationService.defaultInstanceName }}
- --default-instance={{ . }}
{{- end }}
- --store-connect-timeout={{ .Values.config.integration.destinationService.connectionTimeoutSeconds | int }}
- --store-read-timeout={{ .Values.config.integration.destinationService.readTimeoutSeconds | int }}
{{- if include "landbridge.additionalSecret" . }}
- --additional-ca=/etc/landbridge/additional/{{ .Values.additionalCAs.secretKey }}
{{- end }}
{{- end }}

{{- define "landbridge.proxyMounts" -}}
- {name: token, mountPath: /var/run/secrets/landbridge, readOnly: true}
- {name: ca, mountPath: /etc/landbridge/ca, readOnly: true}
- {name: state, mountPath: /var/lib/landbridge}
{{- range include "landbridge.instances" . | fromJsonArray }}
- {name: key-{{ .name }}, mountPath: /etc/landbridge/keys/{{ .name }}, readOnly: true}
{{- end }}
{{- if include "landbridge.additionalSecret" . }}
- {name: additional, mountPath: /etc/landbridge/additional, readOnly: true}
{{- end }}
{{- end }}

{{- define "landbridge.proxyVolumes" -}}
# Who it is: good for the operator only, and only while the pod lives.
- name: token
  projected:
    sources:
      - serviceAccountToken: {audience: landbridge, expirationSeconds: 3600, path: token}
# Written by the operator; the kubelet tries again until it is there.
- name: ca
  configMap:
    name: landbridge-ca
    items: [{key: ca.crt, path: ca.crt}]
- name: state
  emptyDir: {}
{{- range include "landbridge.instances" . | fromJsonArray }}
- name: key-{{ .name }}
  secret:
    secretName: {{ .secret }}
    items: [{key: {{ .key }}, path: {{ .key }}}]
{{- end }}
{{- include "landbridge.additionalVolume" . }}
{{- end }}
