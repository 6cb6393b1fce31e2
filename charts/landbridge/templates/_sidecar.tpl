{{- /* Arguments of the operator about sidecars. */ -}}
{{- define "landbridge.injectArgs" }}
{{- $sidecar := .Values.sidecar }}
{{- if $sidecar.enabled }}
{{- $image := .Values.deployment.image }}
{{- $requests := $sidecar.resources.requests | default dict }}
{{- $limits := $sidecar.resources.limits | default dict }}
{{- $resources := list }}
{{- range $key := list "cpu" "memory" "ephemeral-storage" }}
{{- with get $requests $key }}
{{- $resources = append $resources (printf "%s-request=%v" $key .) }}
{{- end }}
{{- with get $limits $key }}
{{- $resources = append $resources (printf "%s-limit=%v" $key .) }}
{{- end }}
{{- end }}
- --inject=on
- --inject-image={{ $sidecar.image | default (include "landbridge.image" .) }}
- --inject-pull-policy={{ $image.pullPolicy }}
{{- with $sidecar.pullSecret }}
- --inject-pull-secret={{ . }}
{{- end }}
- --inject-proxy-uid={{ $sidecar.proxyUid | int }}
{{- with $resources }}
- --inject-resources={{ join "," . }}
{{- end }}
- {{ printf "--inject-admin-address=%s" (trimAll "[]" (include "landbridge.listen" .)) | quote }}
- --inject-log={{ ternary "error" .Values.config.logging.level (eq .Values.config.logging.level "fatal") }}
- --inject-log-format={{ .Values.config.logging.format }}
- --inject-drain={{ $sidecar.drainSeconds | int }}
- --inject-pod-security={{ $sidecar.podSecurity }}
{{- if $sidecar.failClosed }}
- --inject-fail-closed
{{- end }}
- --unproven-pods={{ $sidecar.unprovenPods }}
{{- end }}
{{- end }}

{{- define "landbridge.checkModes" -}}
{{- if .Values.sidecar.enabled -}}
{{- if .Values.config.security.communication.internal.certManager.enabled -}}
{{- fail "sidecar.enabled: sidecars get certificates from the operator's own authority, which there is none of with config.security.communication.internal.certManager.enabled: set one of the two to false, or use the gateways or node.enabled" -}}
{{- end -}}
{{- if or (not .Values.operator.webhook.enabled) .Values.operator.watchNamespace -}}
{{- fail "sidecar.enabled: sidecars are put into pods by the operator's webhook: set operator.webhook.enabled to true and operator.watchNamespace to \"\"" -}}
{{- end -}}
{{- if not .Values.proxy.enabled -}}
{{- fail "sidecar.enabled: sidecars ask the gateway proxies what a destination is: set proxy.enabled to true" -}}
{{- end -}}
{{- end -}}
{{- end }}
