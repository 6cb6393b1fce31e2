{{- /*
Values of the published guide that cannot have an effect, each with its default and the reason. They are accepted, so that a
values file written for the guide works, and named by the notes when they are set to something else.
*/ -}}
{{- define "connectivity.withoutEffect" -}}
{{- $end := "connector and proxy always talk TLS 1.3 with certificates of both, from end to end, which connectors get when they enrol" -}}
{{- $passes := "TLS passes through the ingress; certificates are of the proxies' own authority, which connectors learn when they enrol" -}}
{{- $plain := "the health check is plain HTTP between ingress and pod" -}}
{{- $service := "no connectivity service is asked: connectors dial this cluster themselves" -}}
{{- $audit := "audit lines are written by connectors, to their standard output" -}}
{{- $jvm := "there is no JVM" -}}
{{- $pool := "there is no pool of threads" -}}
{{- $missing := "this version has no such server" -}}
{{- $list := list
  (list "config.displayName" "" "connectors have no list of clouds; each names itself")
  (list "config.integration.auditlog.mode" "console" $audit)
  (list "config.integration.auditlog.serviceCredentialsKey" "service_key" $audit)
  (list "config.integration.connectivityService.serviceCredentialsKey" "service_key" $service)
  (list "config.servers.businessDataTunnel.enableTls" false $end)
  (list "config.servers.businessDataTunnel.strictSniEnabled" true "connectors accept no other certificate than one of the authority that they enrolled with")
  (list "config.servers.businessDataTunnel.threadPoolSize" "" $pool)
  (list "config.servers.proxy.authorization.oauth.allowedClientId" "" "callers are known by their pods; who may call is said by spec.accessControl.scope of a Destination")
  (list "config.servers.proxy.clientConnection.writeTimeoutSeconds" 10 "the time-outs are those of the destination (URL.socketReadTimeoutInSeconds)")
  (list "config.servers.proxy.threadPoolSize" "" $pool)
  (list "config.jvm.errorFilePath" "/var/log/connectivity" $jvm)
  (list "config.jvm.heapDumpPath" "/var/log/connectivity" $jvm)
  (list "config.jvm.memory.maxDirectSize" "512m" $jvm)
  (list "config.jvm.memory.maxHeapSize" "512m" $jvm)
  (list "config.jvm.memory.minHeapSize" "128m" $jvm)
  (list "config.multiRegionMode.configMapName" "" "there is no such mode; name the service keys of the regions under config.integration.destinationService.instances")
  (list "config.subaccountSubdomain" "" "the service key says which subaccount it is of")
  (list "secretConfig.integration.auditlogService.secretName" "auditlog-service-key" $audit)
  (list "secretConfig.integration.auditlogService.secretData" "" $audit)
  (list "secretConfig.integration.connectivityService.secretName" "" $service)
  (list "secretConfig.integration.connectivityService.secretData" "" $service)
  (list "secretConfig.servers.businessDataTunnel.secretName" "" $passes)
  (list "secretConfig.servers.businessDataTunnel.secretData.caCertificate" "" $passes)
  (list "secretConfig.servers.businessDataTunnel.secretData.certificate" "" $passes)
  (list "secretConfig.servers.businessDataTunnel.secretData.key" "" $passes)
  (list "deployment.utilityImage" dict "one image plays every part")
  (list "deployment.resources.maxFileDescriptorCount" 64000 "the container runtime sets it; what a proxy takes is proxy.maxConnections")
  (list "deployment.restartWatcher.enabled" false "service keys and certificates are read again when they change, without a restart")
  (list "ingress.healthcheck.tls.proxy.secretName" "" $plain)
  (list "ingress.healthcheck.tls.proxy.secretData.caCertificate" "" $plain)
  (list "ingress.healthcheck.tls.proxy.secretData.certificate" "" $plain)
  (list "ingress.healthcheck.tls.proxy.secretData.key" "" $plain)
  (list "ingress.tls.proxy.secretName" "" $passes)
  (list "ingress.tls.proxy.secretData.caCertificate" "" $passes)
  (list "ingress.tls.proxy.secretData.certificate" "" $passes)
  (list "ingress.tls.proxy.secretData.key" "" $passes)
  (list "ingress.tls.secretData.caCertificate" "" $passes)
-}}
{{- $ports := dict "http" 20003 "rfcAndLdap" 20001 "socks5" 20004 -}}
{{- range $server := keys $ports | sortAlpha -}}
{{- $path := printf "config.servers.proxy.%s" $server -}}
{{- $list = append $list (list (printf "%s.allowRemoteConnections" $path) true $missing) -}}
{{- $list = append $list (list (printf "%s.enableProxyAuthorization" $path) true $missing) -}}
{{- $list = append $list (list (printf "%s.port" $path) (get $ports $server) $missing) -}}
{{- end -}}
{{- toJson $list -}}
{{- end }}

{{- /* Those whose effect depends on other values. */ -}}
{{- define "connectivity.withoutEffectHere" -}}
{{- $list := list -}}
{{- $ingress := include "connectivity.ingress" . -}}
{{- $istio := eq .Values.ingress.className "istio" -}}
{{- $own := .Values.ingress.healthcheck.tls -}}
{{- $covered := or $own.secretName $own.secretData.certificate -}}
{{- $off := "there is no ingress: ingress.enabled is false, or service.type is not ClusterIP" -}}
{{- $shared := ternary "TLS passes through the ingress, and the health check has a certificate of its own" $off (not (empty $ingress)) -}}
{{- $nginx := ternary "ingress.className is istio" $off (not (empty $ingress)) -}}
{{- $other := ternary "ingress.className is nginx" $off (not (empty $ingress)) -}}
{{- $health := "TLS of the tunnel passes through, and there is no health check from outside" -}}
{{- if or (not $ingress) $covered -}}
{{- $list = append $list (list "ingress.tls.secretName" "" $shared) -}}
{{- $list = append $list (list "ingress.tls.secretData.certificate" "" $shared) -}}
{{- $list = append $list (list "ingress.tls.secretData.key" "" $shared) -}}
{{- end -}}
{{- if not $ingress -}}
{{- $list = append $list (list "ingress.healthcheck.tls.secretName" "" $off) -}}
{{- $list = append $list (list "ingress.healthcheck.tls.secretData.certificate" "" $off) -}}
{{- $list = append $list (list "ingress.healthcheck.tls.secretData.key" "" $off) -}}
{{- $list = append $list (list "ingress.annotations" dict $off) -}}
{{- end -}}
{{- if or (not $ingress) $istio -}}
{{- $list = append $list (list "ingress.nginx.className" "nginx" $nginx) -}}
{{- $list = append $list (list "ingress.nginx.tls.ciphers" "" $nginx) -}}
{{- else if not (include "connectivity.healthSecret" .) -}}
{{- $list = append $list (list "ingress.nginx.tls.ciphers" "" $health) -}}
{{- end -}}
{{- if or (not $ingress) (not $istio) -}}
{{- $list = append $list (list "ingress.istio.namespace" "istio-system" $other) -}}
{{- $list = append $list (list "ingress.istio.gateway.selector" dict $other) -}}
{{- $list = append $list (list "ingress.istio.gateway.port" 443 $other) -}}
{{- $list = append $list (list "ingress.istio.tls.ciphers" list $other) -}}
{{- else if not (include "connectivity.healthSecret" .) -}}
{{- $list = append $list (list "ingress.istio.tls.ciphers" list $health) -}}
{{- $list = append $list (list "ingress.istio.namespace" "istio-system" "the chart puts no Secret there: it is for ingress.healthcheck.tls.secretData") -}}
{{- end -}}
{{- if not $ingress -}}
{{- range $direction, $seconds := dict "connect" 10 "read" 120 "send" 120 -}}
{{- $list = append $list (list (printf "ingress.timeouts.proxy.%s" $direction) $seconds $off) -}}
{{- end -}}
{{- end -}}
{{- $type := .Values.service.type -}}
{{- if ne $type "LoadBalancer" -}}
{{- $why := printf "service.type is %s" $type -}}
{{- $list = append $list (list "service.loadBalancerClass" "" $why) -}}
{{- $list = append $list (list "service.loadBalancerSourceRanges" list $why) -}}
{{- end -}}
{{- if eq $type "ClusterIP" -}}
{{- $list = append $list (list "service.externalTrafficPolicy" "Cluster" "service.type is ClusterIP") -}}
{{- end -}}
{{- if not .Values.config.serviceChannels.enabled -}}
{{- $list = append $list (list "serviceChannelGuard.timeoutSeconds" 120 "config.serviceChannels.enabled is false, so that nothing guards an uninstallation") -}}
{{- end -}}
{{- toJson $list -}}
{{- end }}

{{- /* Lines of the notes: PATH: reason. */ -}}
{{- define "connectivity.ignored" -}}
{{- $lines := list -}}
{{- $all := concat (include "connectivity.withoutEffect" . | fromJsonArray) (include "connectivity.withoutEffectHere" . | fromJsonArray) -}}
{{- range $all -}}
{{- $value := $.Values -}}
{{- range splitList "." (index . 0) -}}
{{- $value = get $value . -}}
{{- end -}}
{{- if ne (toString $value | replace "<nil>" "") (toString (index . 1)) -}}
{{- $lines = append $lines (printf "  %s: %s" (index . 0) (index . 2)) -}}
{{- end -}}
{{- end -}}
{{- join "\n" $lines -}}
{{- end }}
