{{- define "vigie.name" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "vigie.selector" -}}
app.kubernetes.io/name: vigie
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "vigie.labels" -}}
{{ include "vigie.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "vigie.image" -}}
{{- $of := .root.Values.image -}}
{{ $of.prefix }}/vigie-{{ .image }}{{ with get $of.digests .image }}@{{ . }}{{ else }}:{{ $of.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* Pod Security 'restricted', for every container. */ -}}
{{- define "vigie.container" -}}
image: {{ include "vigie.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{ include "vigie.confined" . }}
{{- end }}

{{- define "vigie.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* A pod that stops is told after a while: until all know that it goes, connections still come. */ -}}
{{- define "vigie.drain" -}}
{{- with int (get .root.Values .component).drainSeconds -}}
lifecycle: {preStop: {exec: {command: [sleep, {{ . | quote }}]}}}
{{- end }}
{{- end }}

{{- /* What the pods of all components have. `user`: of the image; volumes belong to it. */ -}}
{{- define "vigie.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user | default 10001 }}
  runAsGroup: {{ .user | default 10001 }}
  fsGroup: {{ .user | default 10001 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Where the pods of one of our own components go. */ -}}
{{- define "vigie.place" -}}
{{- $of := get .root.Values .component -}}
{{- $analyses := has .component (list "worker" "triton") -}}
{{- with $of.priorityClassName | default (ternary "" .root.Values.priorityClassName $analyses) -}}
priorityClassName: {{ . }}
{{ end -}}
terminationGracePeriodSeconds: {{ add (int $of.drainSeconds) ($of.terminationGracePeriodSeconds | default (add 60 ($of.stopGraceSeconds | default 0))) }}
topologySpreadConstraints:
{{- include "vigie.spread" (dict "root" .root "labels" (include "vigie.selector" . | fromYaml)) | trim | nindent 2 }}
{{- with $of.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* A change of what the pods read starts them anew. */ -}}
{{- define "vigie.annotations" -}}
checksum/config: {{ include (print .root.Template.BasePath "/config.yaml") .root | sha256sum }}
{{- with (get .root.Values .component).podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Environment, folders and files of door, desk, worker and deliver. */ -}}
{{- define "vigie.environment" -}}
envFrom:
  - configMapRef: {name: {{ include "vigie.name" .root }}-settings}
env:
{{ include "vigie.databaseUrl" .root | indent 2 }}
{{- if ne .root.Values.broker.mode "embedded" }}
  - name: VIGIE_BROKER_URL
    valueFrom: {secretKeyRef: {name: {{ include "vigie.brokerSecret" .root }}, key: {{ include "vigie.brokerKey" .root }}}}
{{- end }}
{{- if has .component (list "door" "desk") }}
{{- if .root.Values.access.peopleSecret }}
  - {name: VIGIE_PEOPLE, value: /etc/vigie-people/{{ .root.Values.access.peopleKey }}}
{{- end }}
{{- if .root.Values.access.oidc }}
  - {name: VIGIE_OIDC, value: /etc/vigie/oidc.toml}
{{- end }}
{{- with .root.Values.access.oidcSecret }}
  - name: VIGIE_OIDC_CLIENT_SECRET
    valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $.root.Values.access.oidcSecretKey }}}}
{{- end }}
{{- if .root.Values.insecure.httpWithoutSignIn }}
  - {name: VIGIE_INSECURE_HTTP_WITHOUT_SIGN_IN, value: "true"}
{{- end }}
{{- $tls := and (eq .component "door") .root.Values.door.stow.tlsSecret }}
{{- if $tls }}
  - {name: VIGIE_HTTP_CERTIFICATE, value: /etc/vigie-stow-tls/tls.crt}
  - {name: VIGIE_HTTP_KEY, value: /etc/vigie-stow-tls/tls.key}
{{- else if get .root.Values.insecure (printf "%sHttpWithoutTls" .component) }}
  - {name: VIGIE_INSECURE_HTTP_WITHOUT_TLS, value: "true"}
{{- end }}
{{- with .root.Values.access.sessionKeySecret }}
  - name: VIGIE_SESSION_KEY
    valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $.root.Values.access.sessionKeyKey }}}}
{{- end }}
{{- end }}
{{- if and (eq .component "desk") (or .root.Values.desk.ingress.enabled .root.Values.desk.route.enabled) }}
  # nobody but the Ingress or the Gateway reaches the desk (network.yaml), and it speaks TLS; whom it asks for is what the
  # last of desk.proxies was asked by, since the first entry of X-Forwarded-For is whatever the client wrote
  - {name: VIGIE_HTTPS, value: "true"}
  {{- with .root.Values.desk.proxies }}
  - {name: FORWARDED_ALLOW_IPS, value: {{ join "," . | quote }}}
  {{- end }}
{{- end }}
volumeMounts:
  - {name: data, mountPath: /data}
  - {name: tmp, mountPath: /tmp}
  - {name: files, mountPath: /etc/vigie, readOnly: true}
{{- if include "vigie.brokerTls" .root }}
  - {name: broker-tls, mountPath: /etc/vigie-broker-tls, readOnly: true}
{{- end }}
{{- if and .root.Values.access.peopleSecret (has .component (list "door" "desk")) }}
  - {name: people, mountPath: /etc/vigie-people, readOnly: true}
{{- end }}
{{- if and (eq .component "door") .root.Values.door.stow.tlsSecret }}
  - {name: stow-tls, mountPath: /etc/vigie-stow-tls, readOnly: true}
{{- end }}
{{- range $folder, $secret := .root.Values.secretFolders }}
  - {name: secret-{{ $folder }}, mountPath: /etc/vigie-secrets/{{ $folder }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "vigie.databaseUrl" -}}
- name: VIGIE_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ include "vigie.databaseSecret" . }}, key: {{ include "vigie.databaseKey" . }}}}
{{- end }}

{{- define "vigie.volumes" -}}
- name: data
  persistentVolumeClaim: {claimName: {{ .root.Values.data.existingClaim | default (printf "%s-data" (include "vigie.name" .root)) }}}
- name: tmp
  emptyDir: {}
- name: files
  configMap: {name: {{ include "vigie.name" .root }}-files}
{{- with include "vigie.brokerTls" .root }}
- name: broker-tls
  secret: {secretName: {{ . }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- if and .root.Values.access.peopleSecret (has .component (list "door" "desk")) }}
- name: people
  secret: {secretName: {{ .root.Values.access.peopleSecret }}}
{{- end }}
{{- if and (eq .component "door") .root.Values.door.stow.tlsSecret }}
- name: stow-tls
  secret: {secretName: {{ .root.Values.door.stow.tlsSecret }}}
{{- end }}
{{- range $folder, $secret := .root.Values.secretFolders }}
- name: secret-{{ $folder }}
  secret: {secretName: {{ $secret }}}
{{- end }}
{{- end }}

{{- /* Secrets with the URLs of database and broker. Those of mode operator are made by the operators, once they run. */ -}}
{{- define "vigie.databaseSecret" -}}
{{- $of := .Values.database -}}
{{- get (dict "external" $of.existingSecret "operator" (printf "%s-database-app" (include "vigie.name" .)) "builtin" (printf "%s-database" (include "vigie.name" .))) $of.mode }}
{{- end }}

{{- define "vigie.databaseKey" -}}
{{- ternary "uri" .Values.database.secretKey (eq .Values.database.mode "operator") }}
{{- end }}

{{- define "vigie.brokerSecret" -}}
{{- $of := .Values.broker -}}
{{- get (dict "external" $of.existingSecret "operator" (printf "%s-rabbitmq-default-user" (include "vigie.name" .)) "builtin" (printf "%s-broker" (include "vigie.name" .))) $of.mode }}
{{- end }}

{{- define "vigie.brokerKey" -}}
{{- ternary "connection_string" .Values.broker.secretKey (eq .Values.broker.mode "operator") }}
{{- end }}

{{- /* Secret with certificate, key and ca.crt of the operator's RabbitMQ; empty without TLS. */ -}}
{{- define "vigie.brokerTls" -}}
{{- $tls := .Values.broker.operator.tls -}}
{{- if eq .Values.broker.mode "operator" }}{{ $tls.secret | default (ternary (printf "%s-rabbitmq-tls" (include "vigie.name" .)) "" (ne $tls.issuer.name "")) }}{{ end }}
{{- end }}

{{- /* Even over zones and nodes; `labels`: of the pods. */ -}}
{{- define "vigie.spread" -}}
{{- range $key := list .root.Values.topologyKey "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: {matchLabels: {{ $.labels | toJson }}}
{{- end }}
{{- end }}

{{- /* A certificate that cert-manager makes and renews, with a new key each time. */ -}}
{{- define "vigie.certificate" -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ .name }}
  labels: {{- include "vigie.labels" . | nindent 4 }}
spec:
  secretName: {{ .secret }}
  dnsNames: {{- toYaml .dnsNames | nindent 4 }}
  usages: [digital signature, key encipherment, {{ .usage | default "server auth" }}]
  privateKey: {rotationPolicy: Always}
  issuerRef: {group: cert-manager.io, kind: {{ .issuer.kind }}, name: {{ .issuer.name }}}
{{- end }}

{{- define "vigie.triton" -}}
{{- if .Values.triton.enabled }}{{ include "vigie.name" . }}-triton:8001{{ else }}{{ .Values.triton.address }}{{ end }}
{{- end }}

{{- /* Where workers ask for the energy of the GPU; empty where no number would be that of an analysis: of several servers
       they cannot tell which one works for them, and a slice of a GPU has no counter. */ -}}
{{- define "vigie.tritonMetrics" -}}
{{- $of := .Values.triton -}}
{{- $several := or $of.autoscaling.enabled (ne (int $of.replicas) 1) -}}
{{- if and $of.enabled (eq $of.device "gpu") (not $several) (not (contains "/mig-" $of.gpu.resource)) -}}
{{ include "vigie.name" . }}-triton:8002
{{- end }}
{{- end }}

{{- /* A volume as int16 or float32 with its two uint8 answers, 6 bytes a voxel, for each instance; and 64 MiB of Triton's. */ -}}
{{- define "vigie.sharedMemoryMi" -}}
{{- $of := .Values.triton -}}
{{- add 64 (mul (int $of.instances) (div (mul 6 (int $of.maxVolumeVoxels)) 1048576)) }}
{{- end }}

{{- /* Triton's resources: its memory with what may lie in shared memory, and the GPU. */ -}}
{{- define "vigie.tritonResources" -}}
{{- $of := .root.Values.triton -}}
{{- $memory := .resources.memory -}}
{{- $mi := ternary (mul 1024 (trimSuffix "Gi" $memory | int)) (trimSuffix "Mi" $memory | int) (hasSuffix "Gi" $memory) -}}
{{- $found := merge (dict "memory" (printf "%dMi" (add $mi (include "vigie.sharedMemoryMi" .root | int)))) .resources -}}
{{- if eq $of.device "gpu" }}{{- $found = merge (dict $of.gpu.resource (int $of.gpu.count)) $found }}{{- end -}}
{{ toYaml $found }}
{{- end }}

{{- /* A password that stays the same over upgrades. */ -}}
{{- define "vigie.password" -}}
{{- $kept := lookup "v1" "Secret" .root.Release.Namespace .name -}}
{{- if $kept }}{{ get $kept.data "password" | b64dec }}{{ else }}{{ randAlphaNum 40 }}{{ end }}
{{- end }}

{{- /* Whether the door serves the plain DICOM port: where TLS is not there either, it says why it does not start. */ -}}
{{- define "vigie.plainDicom" -}}
{{- if or .Values.door.insecureWithoutTls (not .Values.door.tls.enabled) }}true{{ end -}}
{{- end }}

{{- define "vigie.dicomTlsSecret" -}}
{{- .Values.door.tls.secret | default (printf "%s-dicom-tls" (include "vigie.name" .)) }}
{{- end }}

{{- /* How `helm test` speaks to the door: plain, tls, or not at all, where it would have no certificate to show. */ -}}
{{- define "vigie.testOver" -}}
{{- $tls := .Values.door.tls -}}
{{- if include "vigie.plainDicom" . }}plain{{ else if or (not $tls.clientCertificates) $tls.issuer.name .Values.helmTest.tls.secret }}tls{{ end }}
{{- end }}

{{- /* The Secret by which it does: one of its own where the door asks for a certificate, else the door's for its ca.crt. */ -}}
{{- define "vigie.testTlsSecret" -}}
{{- .Values.helmTest.tls.secret | default (ternary (printf "%s-test-tls" (include "vigie.name" .)) (include "vigie.dicomTlsSecret" .) .Values.door.tls.clientCertificates) }}
{{- end }}
