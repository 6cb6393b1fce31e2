{{- /* What a schema cannot say. Each failure tells what to do. */ -}}
{{- define "landbridge.check" -}}
{{- include "landbridge.checkInstances" . -}}
{{- include "landbridge.checkScaling" . -}}
{{- include "landbridge.checkModes" . -}}
{{- include "landbridge.checkStore" . -}}
{{- if .Values.compliance.fipsModeEnabled -}}
{{- fail "compliance.fipsModeEnabled: the cryptography of this build is not a FIPS-validated module, and Landbridge does not pretend it is: set it to false" -}}
{{- end -}}
{{- if and .Values.operator.watchNamespace (ne .Values.config.managedNamespacesMode "all") -}}
{{- fail "operator.watchNamespace: one namespace and config.managedNamespacesMode=labelSelector exclude each other: set one of them" -}}
{{- end -}}
{{- if and .Values.operator.watchNamespace .Values.operator.webhook.failClosed -}}
{{- fail "operator.webhook.failClosed: with operator.watchNamespace there is no admission webhook, whose registration is of the whole cluster: set it to false" -}}
{{- end -}}
{{- if and .Values.monitoring.podMonitor.enabled .Values.monitoring.serviceMonitor.enabled -}}
{{- fail "monitoring: podMonitor and serviceMonitor would scrape everything twice: enable one of them" -}}
{{- end -}}
{{- with .Values.additionalCAs -}}
{{- if and .secretName (not .secretKey) -}}
{{- fail (printf "additionalCAs.secretKey: say which key of the Secret %s holds the certificates (PEM)" .secretName) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "landbridge.checkInstances" -}}
{{- $service := .Values.config.integration.destinationService -}}
{{- $path := "config.integration.destinationService" -}}
{{- $legacy := $service.serviceCredentials -}}
{{- if .Values.store.enabled -}}
{{- if or $legacy.secretData $legacy.secretNamespace -}}
{{- fail (printf "%s.serviceCredentials: store.enabled makes the service key itself: remove secretData and secretNamespace, or name the other service under %s.instances" $path $path) -}}
{{- end -}}
{{- else if and $service.instances (or $legacy.secretData $legacy.secretKey $legacy.secretNamespace) -}}
{{- fail (printf "%s: serviceCredentials and instances are both set: move the former into instances" $path) -}}
{{- end -}}
{{- $names := list -}}
{{- $secrets := dict -}}
{{- range include "landbridge.instances" . | fromJsonArray -}}
{{- if has .name $names -}}
{{- fail (printf "%s.instances: two instances are named %s: give each a name of its own" $path .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- if and .data .from -}}
{{- fail (printf "%s.serviceCredentials: secretData makes a Secret in the install namespace, secretNamespace says there is one elsewhere: set one of them" $path) -}}
{{- end -}}
{{- if and (or .data .from) (hasKey $secrets .secret) -}}
{{- fail (printf "%s.instances: the Secret %s would be made twice: give %s a secretName of its own" $path .secret .name) -}}
{{- end -}}
{{- $_ := set $secrets .secret true -}}
{{- with .data -}}
{{- $key := b64dec (. | replace "\n" "") | fromJson -}}
{{- if hasKey $key "Error" -}}
{{- fail (printf "%s.serviceCredentials.secretData: it is no base64-encoded service key (JSON): encode the key as it was printed, as with base64 -w0 key.json" $path) -}}
{{- end -}}
{{- $key = $key.credentials | default $key -}}
{{- range list "clientid" "url" "uri" -}}
{{- if not (get $key .) -}}
{{- fail (printf "%s.serviceCredentials.secretData: the service key has no \"%s\": use the key of a destination service instance as it was printed" $path .) -}}
{{- end -}}
{{- end -}}
{{- if not $key.clientsecret -}}
{{- fail (printf "%s.serviceCredentials.secretData: the service key has no \"clientsecret\": keys with certificates are not supported yet, create one with a secret" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $service.defaultInstanceName -}}
{{- if not (has . $names) -}}
{{- fail (printf "%s.defaultInstanceName: %s is none of the instances (%s): name one of those" $path . (join ", " $names)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "landbridge.checkScaling" -}}
{{- $scaling := .Values.deployment.autoscaling -}}
{{- range $one := list "http" "tcp" -}}
{{- range $other := list "http" "tcp" -}}
{{- if and (get $scaling $one).horizontal.enabled (get $scaling $other).vertical.enabled -}}
{{- $why := ternary "they exclude each other" "one kind of proxy serves HTTP and TCP, so that both would change the same pods" (eq $one $other) -}}
{{- fail (printf "deployment.autoscaling: %s.horizontal and %s.vertical are both enabled, and %s: enable one of them" $one $other $why) -}}
{{- end -}}
{{- end -}}
{{- $replicas := include "landbridge.replicas" $ | int -}}
{{- $horizontal := (get $scaling $one).horizontal -}}
{{- if and $horizontal.enabled (lt ($horizontal.maxReplicaCount | int) $replicas) -}}
{{- fail (printf "deployment.autoscaling.%s.horizontal.maxReplicaCount: %d is less than the %d replicas to start with: raise it" $one ($horizontal.maxReplicaCount | int) $replicas) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "landbridge.checkStore" -}}
{{- $store := .Values.store -}}
{{- $postgres := $store.database.urlSecret.name -}}
{{- if and (gt ($store.replicas | int) 1) (not $postgres) -}}
{{- fail (printf "store.replicas: %d stores cannot share one file: name a PostgreSQL database with store.database.urlSecret.name, or leave it at 1" ($store.replicas | int)) -}}
{{- end -}}
{{- if and $postgres (not $store.keySecret.name) -}}
{{- fail "store.keySecret.name: with PostgreSQL the key that everything is encrypted with must be in a Secret, since a pod that ends takes its files along: make it with (umask 077; echo \"landbridge-key-1:$(head -c 32 /dev/urandom | base64)\" > store.key; kubectl create secret generic landbridge-store-encryption --from-file=store.key), keep a copy of the file, and name the Secret" -}}
{{- end -}}
{{- if and $postgres $store.persistence.existingClaim -}}
{{- fail "store.persistence.existingClaim: with PostgreSQL (store.database.urlSecret) the store has no volume: remove one of them" -}}
{{- end -}}
{{- end }}
