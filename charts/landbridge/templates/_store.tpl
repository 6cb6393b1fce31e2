{{- /* The pod of the store, the same with a file and with PostgreSQL. */ -}}
{{- define "landbridge.storePod" -}}
{{- $context := dict "root" . "component" "store" -}}
{{- $listen := include "landbridge.listen" . -}}
{{- $instance := first (include "landbridge.instances" . | fromJsonArray) -}}
{{- $store := .Values.store -}}
{{- $postgres := $store.database.urlSecret.name -}}
metadata:
  labels: {{- include "landbridge.podLabels" $context | nindent 4 }}
  {{- with .Values.store.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: landbridge-store
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ add .Values.store.drainSeconds 10 }}
  {{- include "landbridge.podSpec" $context | nindent 2 }}
  containers:
    - name: store
      {{- include "landbridge.container" $context | nindent 6 }}
      args:
        - store
        - serve
        - --data-dir=/var/lib/landbridge/data
        - --listen={{ $listen }}:20080
        - --public-url={{ include "landbridge.storeUrl" . }}
        - --admin-listen={{ $listen }}:9494
        - --service-key=/etc/landbridge/keys/{{ $instance.key }}
        - --client-rate={{ .Values.store.clientRate | int }}
        {{- if $postgres }}
        - --database-url-file=/etc/landbridge/database/url
        {{- end }}
        {{- if $store.keySecret.name }}
        - --key-file=/etc/landbridge/encryption/store.key
        {{- end }}
        {{- if $store.tls.secretName }}
        - --tls-certificate=/etc/landbridge/tls/tls.crt
        - --tls-key=/etc/landbridge/tls/tls.key
        {{- end }}
        {{- if .Values.store.allowLocalTargets }}
        - --allow-local-targets
        {{- end }}
        {{- if include "landbridge.additionalSecret" . }}
        - --additional-ca=/etc/landbridge/additional/{{ .Values.additionalCAs.secretKey }}
        {{- end }}
        - --drain={{ .Values.store.drainSeconds | int }}
        {{- with .Values.store.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      env:
        {{- include "landbridge.env" $context | nindent 8 }}
        # So that `kubectl exec -i` can use `landbridge store put -` without more.
        - name: LANDBRIDGE_BINDING
          value: /etc/landbridge/keys/{{ $instance.key }}
        # The same for the commands that administer it: they work on the data themselves.
        - name: LANDBRIDGE_DATA_DIR
          value: /var/lib/landbridge/data
        {{- if $postgres }}
        - name: LANDBRIDGE_STORE_DATABASE_URL_FILE
          value: /etc/landbridge/database/url
        {{- end }}
        {{- if $store.keySecret.name }}
        - name: LANDBRIDGE_STORE_KEY_FILE
          value: /etc/landbridge/encryption/store.key
        {{- end }}
      ports:
        - {name: http, containerPort: 20080, protocol: TCP}
        - {name: admin, containerPort: 9494, protocol: TCP}
      {{- include "landbridge.probes" . | nindent 6 }}
      resources: {{- include "landbridge.resources" .Values.store.resources | nindent 8 }}
      volumeMounts:
        - {name: data, mountPath: /var/lib/landbridge}
        - {name: key, mountPath: /etc/landbridge/keys, readOnly: true}
        {{- if $postgres }}
        - {name: database, mountPath: /etc/landbridge/database, readOnly: true}
        {{- end }}
        {{- if $store.keySecret.name }}
        - {name: encryption, mountPath: /etc/landbridge/encryption, readOnly: true}
        {{- end }}
        {{- if $store.tls.secretName }}
        - {name: tls, mountPath: /etc/landbridge/tls, readOnly: true}
        {{- end }}
        {{- if include "landbridge.additionalSecret" . }}
        - {name: additional, mountPath: /etc/landbridge/additional, readOnly: true}
        {{- end }}
        {{- with .Values.store.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: key
      secret:
        secretName: {{ $instance.secret }}
        items: [{key: {{ $instance.key }}, path: {{ $instance.key }}}]
    {{- if $postgres }}
    - name: data
      emptyDir: {}
    - name: database
      secret:
        secretName: {{ $postgres }}
        defaultMode: 288
        items: [{key: {{ $store.database.urlSecret.key }}, path: url}]
    {{- else if $store.persistence.existingClaim }}
    - name: data
      persistentVolumeClaim: {claimName: {{ $store.persistence.existingClaim }}}
    {{- end }}
    {{- with $store.keySecret }}
    {{- if .name }}
    - name: encryption
      secret:
        secretName: {{ .name }}
        # 0440: the store takes no key that everybody may read; the pod's group owns it.
        defaultMode: 288
        items: [{key: {{ .key }}, path: store.key}]
    {{- end }}
    {{- end }}
    {{- with $store.tls.secretName }}
    - name: tls
      secret:
        secretName: {{ . }}
        defaultMode: 288
    {{- end }}
    {{- include "landbridge.additionalVolume" . | indent 4 }}
    {{- with .Values.store.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
