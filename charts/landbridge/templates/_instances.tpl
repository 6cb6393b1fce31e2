{{- /*
The destination service instances as a JSON list: name, secret and key in the install namespace; `data` where the chart
makes the Secret; `from` where it is copied from another namespace.
*/ -}}
{{- define "landbridge.instances" -}}
{{- $service := .Values.config.integration.destinationService -}}
{{- $list := list -}}
{{- if or .Values.store.enabled (not $service.instances) -}}
{{- $name := "default" -}}
{{- if not $service.instances -}}
{{- $name = $service.defaultInstanceName | default "default" -}}
{{- end -}}
{{- $list = append $list (dict "name" $name "serviceCredentials" $service.serviceCredentials) -}}
{{- end -}}
{{- $list = concat $list $service.instances -}}
{{- $result := list -}}
{{- range $list -}}
{{- $credentials := .serviceCredentials -}}
{{- $foreign := and $credentials.secretNamespace (ne $credentials.secretNamespace $.Release.Namespace) -}}
{{- $one := dict "name" .name "secret" $credentials.secretName "key" ($credentials.secretKey | default "service_key") -}}
{{- with $credentials.secretData }}{{- $_ := set $one "data" . }}{{- end -}}
{{- if $foreign -}}
{{- $_ := set $one "secret" (printf "landbridge-copy-%s" $credentials.secretName) -}}
{{- $_ := set $one "from" (dict "namespace" $credentials.secretNamespace "secret" $credentials.secretName) -}}
{{- end -}}
{{- $result = append $result $one -}}
{{- end -}}
{{- toJson $result -}}
{{- end }}

{{- /* Additional authorities: the Secret in the install namespace, or nothing. */ -}}
{{- define "landbridge.additionalSecret" -}}
{{- with .Values.additionalCAs -}}
{{- if .secretName -}}
{{- if and .secretNamespace (ne .secretNamespace $.Release.Namespace) -}}
landbridge-copy-{{ .secretName }}
{{- else -}}
{{ .secretName }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* The key of the store: that of the Secret, if there is one, else a new one. Base64. */ -}}
{{- define "landbridge.storeKey" -}}
{{- $instance := first (include "landbridge.instances" . | fromJsonArray) -}}
{{- $there := lookup "v1" "Secret" .Release.Namespace $instance.secret -}}
{{- $kept := dig "data" $instance.key "" ($there | default dict) -}}
{{- $url := include "landbridge.storeUrl" . -}}
{{- if $kept -}}
{{- $key := b64dec $kept | fromJson -}}
{{- $before := $key.url | default "" -}}
{{- /* TLS was switched on or off: everything else of the key stays, or its clients would be strangers. */ -}}
{{- if and (ne $before $url) (eq (trimPrefix "http://" (trimPrefix "https://" $before)) (trimPrefix "http://" (trimPrefix "https://" $url))) -}}
{{- range list "url" "uri" "token_service_url" -}}
{{- $_ := set $key . $url -}}
{{- end -}}
{{- $key | toJson | b64enc -}}
{{- else -}}
{{ $kept }}
{{- end -}}
{{- else -}}
{{- $id := uuidv4 -}}
{{- $tenant := uuidv4 -}}
{{- dict
    "clientid" (printf "sb-%s" (uuidv4 | replace "-" ""))
    "clientsecret" (randAlphaNum 48)
    "url" $url
    "uri" $url
    "token_service_url" $url
    "uaadomain" (printf "landbridge-store.%s.svc:20080" .Release.Namespace)
    "instanceid" $id
    "xsappname" (printf "landbridge-destination-%s" $id)
    "identityzone" .Values.store.subdomain
    "identityzoneid" $tenant
    "tenantid" $tenant
    "tenantmode" "dedicated"
    "credential-type" "binding-secret" | toJson | b64enc -}}
{{- end -}}
{{- end }}
