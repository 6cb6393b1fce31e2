{{- /*
Values that are accepted and cannot have an effect, with their default and the reason. Used by the notes, and by those of
a chart that contains this one.
*/ -}}
{{- define "landbridge.withoutEffect" -}}
- path: config.integration.destinationService.serviceCredentials.privateKey.secretName
  default: x509-svc-key-private-key
  because: service keys of this version have a clientid and a clientsecret
- path: config.integration.destinationService.serviceCredentials.privateKey.secretInternalKey
  default: pk.pem
  because: service keys of this version have a clientid and a clientsecret
- path: config.integration.destinationService.serviceCredentials.privateKey.secretNamespace
  default: ""
  because: service keys of this version have a clientid and a clientsecret
- path: config.integration.connectivityProxy.connectionTimeoutSeconds
  default: 1
  because: the time to connect to an on-premise system is that of its destination (URL.connectionTimeoutInSeconds) and of the connector
- path: config.integration.connectivityProxy.serviceName
  default: ""
  because: connectors dial the proxies of the chart landbridge-connectivity, in this namespace
- path: config.integration.connectivityProxy.http.port
  default: 20003
  because: there is no hop to another proxy
- path: config.integration.connectivityProxy.tcp.port
  default: 20004
  because: there is no hop to another proxy
- path: config.integration.connectivityProxy.httpPort
  default: 20003
  because: there is no hop to another proxy
- path: config.integration.connectivityProxy.tcpPort
  default: 20004
  because: there is no hop to another proxy
- path: config.integration.connectivityProxy.serviceCredentials
  default: {}
  because: connectors have certificates of their own, which they get by enrolment
- path: config.integration.connectivityProxy.type
  default: ""
  because: there is one kind of connectivity proxy
- path: config.integration.connectivityProxy.servicePort
  default: 0
  because: there is no hop to another proxy
- path: config.integration.ztis.socketPath
  default: ""
  because: components prove who they are with service-account tokens
- path: config.http.retry.maxRetries
  default: 0
  because: a safe request without a body is repeated once when a target refuses its token, and never otherwise
- path: config.http.retry.statusCodes
  default: []
  because: a safe request without a body is repeated once when a target refuses its token, and never otherwise
- path: config.tenantMode
  default: dedicated
  because: the tenant of a call is that of its destination service instance; give each tenant an instance
- path: config.metering.enabled
  default: false
  because: nothing is metered
- path: config.metrics.prometheus.enabled
  default: true
  because: metrics are always served on port 9494; networkPolicy.metricsFrom says who may read them
- path: config.platform.region
  default: eu10
  because: the service key says where the services are
- path: config.helm.skipExistingResourceValidation
  default: false
  because: Helm itself checks resources that exist already
- path: config.security.communication.internal.encryptionEnabled
  default: true
  because: proxies and operator always talk TLS 1.3 and prove who they are; a mesh may encrypt once more
- path: config.security.communication.internal.certManager.issuerRef.namespace
  default: ""
  because: an Issuer is of the namespace of its Certificate; use a ClusterIssuer for another one
- path: deployment.priority.value
  default: 0
  because: a priority is a PriorityClass; name one with operator.priorityClassName and proxy.priorityClassName
- path: deployment.resources.tcp.requests
  default: {cpu: "0.05", memory: 32M}
  because: one kind of proxy serves HTTP and TCP, with deployment.resources.http
- path: deployment.resources.tcp.limits
  default: {cpu: "0.1", memory: 64M}
  because: one kind of proxy serves HTTP and TCP, with deployment.resources.http
- path: deployment.resources.tcp.request
  default: {cpu: "0.05", memory: 32M}
  because: one kind of proxy serves HTTP and TCP, with deployment.resources.http
{{- end }}

{{- /* Sentences about values that are set and do not do what their name says, one to a line. */ -}}
{{- define "landbridge.remarks" -}}
{{- range include "landbridge.withoutEffect" . | fromYamlArray }}
{{- $value := $.Values }}
{{- range $part := splitList "." .path }}
{{- $value = ternary (get (default dict $value) $part) nil (and (kindIs "map" $value) (hasKey (default dict $value) $part)) }}
{{- end }}
{{- /* As texts: 0.2 and "0.2" are the same quantity. */ -}}
{{- if and (ne (printf "%v" $value) (printf "%v" .default)) (not (kindIs "invalid" $value)) }}
{{ .path }} is set, without effect: {{ .because }}.
{{- end }}
{{- end }}
{{- with .Values.deployment.image.repository }}
{{- if has . (list "sapse" "com.sap.core.connectivity.transparent-proxy") }}
deployment.image.repository is that of another product: the image {{ include "landbridge.image" $ }} must be there, or name the place where it is.
{{- end }}
{{- end }}
{{- $internal := .Values.config.security.communication.internal }}
{{- if and (not $internal.certManager.enabled) (ne $internal.certManager.issuerRef.name "sap-transp-proxy-issuer") }}
config.security.communication.internal.certManager.issuerRef.name is set, without effect: the operator keeps an authority of its own; set certManager.enabled to use the issuer.
{{- end }}
{{- $scaling := .Values.deployment.autoscaling }}
{{- range list (list "http" "tcp" "horizontal") (list "http" "tcp" "vertical") }}
{{- $kind := last . }}
{{- if and (get $scaling.http $kind).enabled (get $scaling.tcp $kind).enabled }}
deployment.autoscaling.tcp.{{ $kind }} is set beside that of http: they are the same pods, the targets of http count{{ if eq $kind "horizontal" }}, and the larger maxReplicaCount{{ end }}.
{{- end }}
{{- end }}
{{- range include "landbridge.instancesRaw" . | fromJsonArray }}
{{- if .associateWith }}
config.integration.destinationService.instances: associateWith of {{ .name }} is set, without effect: connectors name the location that they serve, and no region.
{{- end }}
{{- if .serviceCredentials.privateKey }}
config.integration.destinationService.instances: serviceCredentials.privateKey of {{ .name }} is set, without effect: service keys of this version have a clientid and a clientsecret.
{{- end }}
{{- end }}
{{- range include "landbridge.instances" . | fromJsonArray }}
{{- if .from }}
The Secret {{ .from.namespace }}/{{ .from.secret }} is copied to {{ $.Release.Namespace }}/{{ .secret }}: a change of it counts after the next `helm upgrade`. Without a cluster to ask (`helm template`) it must be copied by hand.
{{- end }}
{{- end }}
{{- if and .Values.operator.watchNamespace }}
Only the namespace {{ .Values.operator.watchNamespace }} is looked after: there is no admission webhook, and ServiceMappings, which are of the cluster, are not read.
{{- end }}
{{- if .Values.node.enabled }}
Connections of pods to destinations are taken on their nodes (node.enabled): the namespace {{ .Release.Namespace }} must allow the Pod Security level privileged (kubectl label namespace {{ .Release.Namespace }} pod-security.kubernetes.io/enforce=privileged --overwrite), and a cluster has room for one such installation.
{{- end }}
{{- if .Values.store.enabled }}
{{- if and .Values.store.database.urlSecret.name (lookup "apps/v1" "StatefulSet" .Release.Namespace "landbridge-store") }}
The store had a file on a volume before, and has PostgreSQL now: its destinations are not carried over. The claim data-landbridge-store-0 keeps the file.
{{- end }}
{{- if and .Values.store.tls.secretName (not .Values.additionalCAs.secretName) }}
The store listens in TLS (store.tls.secretName), and additionalCAs.secretName is empty: operator and proxies reach it only when a public authority signed its certificate.
{{- end }}
{{- end }}
{{- if .Values.sidecar.enabled }}
Pods get a sidecar where their namespace asks for it: kubectl label namespace NAME connectivity.landbridge.dev/inject=enabled. Those that run already get theirs when they are made anew.
{{- end }}
{{- if not .Values.operator.networkPolicies }}
The operator writes no NetworkPolicies (operator.networkPolicies): only the proxies themselves refuse callers outside of a destination's scope.
{{- end }}
{{- end }}

{{- define "landbridge.instancesRaw" -}}
{{- toJson .Values.config.integration.destinationService.instances -}}
{{- end }}

{{- define "landbridge.notes" -}}
Landbridge {{ .Chart.AppVersion }} is installed in the namespace {{ .Release.Namespace }}: {{ .Values.operator.replicas }} operator{{ if gt (.Values.operator.replicas | int) 1 }}s{{ end }}
{{- if .Values.proxy.enabled }}, {{ include "landbridge.replicas" . }} gateway prox{{ ternary "y" "ies" (eq (include "landbridge.replicas" .) "1") }}{{ end }}
{{- if .Values.store.enabled }}, {{ if gt (.Values.store.replicas | int) 1 }}{{ .Values.store.replicas }} destination stores{{ else }}a destination store{{ end }}{{ end }}.

Next:
{{- $steps := list }}
{{- if .Values.store.enabled }}
{{- $steps = append $steps (printf "Put a destination into the store:\n\n     kubectl exec -i -n %s %s -- landbridge store put - <<'JSON'\n     {\"Name\": \"hello-api\", \"Type\": \"HTTP\", \"URL\": \"https://www.example.com\", \"ProxyType\": \"Internet\", \"Authentication\": \"NoAuthentication\"}\n     JSON" .Release.Namespace (ternary "deploy/landbridge-store" "landbridge-store-0" (not (empty .Values.store.database.urlSecret.name)))) }}
{{- end }}
{{- range $index, $instance := include "landbridge.instances" . | fromJsonArray }}
{{- if not (or $instance.data $instance.from (and $.Values.store.enabled (eq $index 0))) }}
{{- if not (lookup "v1" "Secret" $.Release.Namespace $instance.secret) }}
{{- $steps = append $steps (printf "Create the Secret with the service key of the destination service (instance %s); pods wait for it:\n\n     kubectl create secret generic %s -n %s --from-file=%s=key.json" $instance.name $instance.secret $.Release.Namespace $instance.key) }}
{{- end }}
{{- end }}
{{- end }}
{{- $steps = append $steps "Declare it, in the namespace that calls it:\n\n     kubectl apply -f - <<'YAML'\n     apiVersion: destination.connectivity.api.sap/v1\n     kind: Destination\n     metadata: {name: hello}\n     spec: {destinationRef: {name: hello-api}}\n     YAML\n\n   Pods of that namespace call it at http://hello." }}
{{- if eq .Values.config.managedNamespacesMode "labelSelector" }}
{{- $steps = append $steps (printf "Label each namespace that is to be looked after:\n\n     kubectl label namespace NAME transparent-proxy.connectivity.api.sap/namespace=%s" .Release.Namespace) }}
{{- end }}
{{- $steps = append $steps (printf "See whether all is well:\n\n     landbridge check -n %s" .Release.Namespace) }}
{{- range $index, $step := $steps }}
{{ add $index 1 }}. {{ $step }}
{{- end }}
{{- with include "landbridge.remarks" . | trim }}

To know:
{{- range splitList "\n" . }}
{{- with trim . }}
- {{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
