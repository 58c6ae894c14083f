"""Signed HTTP requests to one URL, as the Standard Webhooks specification has them (version 1.0.0)."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from services.backends.receivers.saying import require_one_patient
from services.backends.receivers.tables import WebhookTable
from services.backends.senders.link import Link, Tls
from services.backends.web import credentials, post
from services.triage.errors import DestinationRefused, DestinationUnavailable
from services.triage.notification import Notification
from services.triage.wording import score_text

_GONE = 410


@dataclass(frozen=True, kw_only=True)
class WebhookNotifier:
    """Posts each notification. credentials: a TOML file with a table by the receiver's name, of `secret`.

    The secret is `whsec_` and base64, or several in a list while one replaces another: each signs.
    """

    name: str
    site: WebhookTable
    link: Link
    credentials: Path | None = None

    def notify(self, notification: Notification) -> None:
        """See Notifier. Whatever is answered but success and 410 is tried again, as the specification asks."""
        body = json.dumps(payload(notification, self.site), ensure_ascii=False)
        now, message_id = datetime.now(UTC), f"msg_{notification.notification_id}"
        signatures = [secret.sign(message_id, now, body) for secret in self._secrets()]
        peer = str(httpx.URL(self.site.address).copy_with(path="/", query=None))  # a path may be a secret
        answer = post(
            self.site.address,
            peer=peer,
            content=body.encode(),
            headers={
                "Content-Type": "application/json",
                "webhook-id": message_id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": " ".join(signatures),
            },
            tls=(self.link.tls or Tls()).context(),
            timeout=httpx.Timeout(self.link.answer_timeout_s, connect=self.link.connect_timeout_s),
        )
        if answer.status_code == _GONE:
            raise DestinationRefused("gone", f"{peer} answered HTTP 410: it wants to hear no more")
        if not answer.is_success:
            raise DestinationUnavailable(f"{peer} answered HTTP {answer.status_code}")

    def _secrets(self) -> list[Webhook]:
        found = credentials(self.credentials, self.name).get("secret", [])
        try:
            secrets = [Webhook(str(secret)) for secret in ([found] if isinstance(found, str) else found)]
        except (ValueError, EmptyWebhookSecretError) as error:
            raise DestinationUnavailable(f"the secret of '{self.name}' is not whsec_ and base64") from error
        if not secrets:
            text = f"VIGIE_NOTIFICATION_CREDENTIALS has no secret for '{self.name}': nothing is sent unsigned"
            raise DestinationUnavailable(text)
        return secrets


def payload(notification: Notification, site: WebhookTable) -> dict[str, Any]:
    """The body: no patient data, unless the receiver is to have it.

    Raises DestinationRefused: it would name one of two patients.
    """
    result, withdrawn = notification.result, notification.withdrawn
    finding, study = result.finding, notification.study
    data: dict[str, Any] = {
        "status": "preliminary" if withdrawn is None else "withdrawn",
        "study_instance_uid": study.study_instance_uid,
        "series_instance_uid": result.series_instance_uid,
        "result_id": result.result_id,
        "replaces": notification.earlier.result_id if notification.earlier else None,
        "model": {
            "name": result.model.name,
            "version": result.model.version,
            "weights_sha256": result.model.weights_sha256,
        },
        "outcome": finding.outcome,
        "flag": finding.flag if finding.outcome.analysed else None,
        "reason_code": finding.reason.code if finding.reason else None,
        "caution_codes": [caution.code for caution in finding.cautions],
        "withdrawn_because": withdrawn.code if withdrawn else None,
        "link": site.link_to(study.study_instance_uid) or None,
    }
    if site.include & {"patient", "order"}:
        require_one_patient(notification)
    if "patient" in site.include:
        data["patient"] = {
            "patient_id": study.patient_id,
            "issuer_of_patient_id": study.issuer_of_patient_id,
            "patient_name": study.patient_name,
            "patient_birth_date": study.patient_birth_date,
            "patient_sex": study.patient_sex,
        }
    if "order" in site.include:
        data["order"] = {"accession_number": study.accession_number, "study_id": study.study_id}
    if "findings" in site.include:
        score = None if finding.score is None else score_text(finding.score, calibrated=finding.calibrated)
        data |= {"score": finding.score, "score_text": score}
        data["uncertainty"] = finding.uncertainty and asdict(finding.uncertainty)
        data["organs"] = [asdict(one) for one in finding.organs]
        data["lesions"] = [
            {
                "tracking_uid": one.tracking_uid,
                "label": one.label,
                "score": one.score,
                "spread": one.spread and asdict(one.spread),
                "volume_ml": one.volume_ml,
                "long_axis_mm": one.long_axis_mm,
                "short_axis_mm": one.short_axis_mm,
            }
            for one in finding.lesions
        ]
    kind = "result.preliminary" if withdrawn is None else "result.withdrawn"
    return {"type": kind, "timestamp": notification.owed_at.isoformat(), "data": data}
