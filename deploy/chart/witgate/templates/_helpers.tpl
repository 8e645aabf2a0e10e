{{- define "witgate.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "witgate.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "witgate.labels" -}}
{{ include "witgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "witgate.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* Whether the state is in etcd. */ -}}
{{- define "witgate.shared" -}}
{{- if dig "state" "etcd" "" .Values.config }}true{{ end }}
{{- end }}

{{- define "witgate.tlsSecret" -}}
{{- required "tls.secretName: name the Secret with the gateway's certificate, or the one that cert-manager makes" .Values.tls.secretName }}
{{- end }}

{{- /* The gateway's configuration: the chart's own, with what the values say merged into it. */ -}}
{{- define "witgate.config" -}}
{{- if not (dig "identity" "publicUrl" "" .Values.config) }}
{{- fail "config.identity.publicUrl: say where browsers reach the gateway" }}
{{- end }}
{{- if and (gt (int .Values.replicas) 1) (not (include "witgate.shared" .)) }}
{{- fail "replicas: more than one gateway needs config.state.etcd, which they share" }}
{{- end }}
{{- $own := dict
  "listeners" (list
    (dict "address" "0.0.0.0:8443" "tls" (dict
      "certificateFile" "/etc/witgate/tls/tls.crt" "keyFile" "/etc/witgate/tls/tls.key"))
    (dict "address" "0.0.0.0:9095" "serves" "admin" "plaintext" true))
  "state" (dict "directory" "/var/lib/witgate") }}
{{- toYaml (mergeOverwrite $own (deepCopy .Values.config)) }}
{{- end }}
