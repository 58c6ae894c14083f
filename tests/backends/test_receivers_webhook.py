"""Signed requests, verified as a receiver verifies them: by the library of the Standard Webhooks specification."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from services.backends.receivers.sample import sample
from services.backends.receivers.webhook import WebhookNotifier
from services.backends.senders.link import PLAIN
from services.triage.errors import DestinationRefused, DestinationUnavailable
from tests.support.http_server import Server, serving
from tests.support.telling import SECRET, credentials_file, replacing, webhook_table, with_study

OTHER = "whsec_" + base64.b64encode(b"another secret of 32 bytes, long").decode()


@pytest.fixture
def hook():
    return Server()


@pytest.fixture
def notifier(tmp_path):
    def made(url, secrets=f'secret = "{SECRET}"', **choices):
        credentials = credentials_file(tmp_path, pager=secrets)
        return WebhookNotifier(name="pager", site=webhook_table(url, **choices), link=PLAIN, credentials=credentials)

    return made


def received(hook, secret=SECRET):
    """What the receiver takes for true."""
    return Webhook(secret).verify(hook.content, hook.headers)


def test_a_receiver_that_verifies_gets_the_outcome_and_no_patient(hook, notifier):
    with serving(hook) as url:
        notifier(url, link="https://vigie/studies/{StudyInstanceUID}").notify(sample())
    told = received(hook)
    assert (told["type"], told["data"]["outcome"], told["data"]["flag"]) == ("result.preliminary", "found", "urgent")
    assert told["data"]["link"] == "https://vigie/studies/1.2.826.0.1.3680043.10.1.1"
    study = sample().study
    for secret in (study.patient_id, "Ada", study.patient_birth_date, study.accession_number, "CT chest", "0.93"):
        assert secret not in hook.content.decode()


def test_the_signature_is_that_of_the_specification(hook, notifier):
    with serving(hook) as url:
        notifier(url).notify(sample())
    headers = {name.lower(): value for name, value in hook.headers.items()}
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{hook.content.decode()}".encode()
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_a_changed_body_or_another_secret_does_not_verify(hook, notifier):
    with serving(hook) as url:
        notifier(url).notify(sample())
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(hook.content.replace(b"urgent", b"routine"), hook.headers)
    with pytest.raises(WebhookVerificationError):
        received(hook, OTHER)


def test_while_one_secret_replaces_another_both_sign(hook, notifier):
    with serving(hook) as url:
        notifier(url, f'secret = ["{OTHER}", "{SECRET}"]').notify(sample())
    assert received(hook) == received(hook, OTHER)


def test_a_repetition_has_the_same_id_and_body_and_another_message_has_not(hook, notifier):
    with serving(hook) as url:
        for notification in (sample(), sample(), sample(withdrawn=True)):
            notifier(url).notify(notification)
    first, again, recall = [(headers["webhook-id"], content) for _, headers, content in hook.requests]
    assert first == again
    assert first[0] != recall[0]
    assert json.loads(recall[1])["type"] == "result.withdrawn"


def test_what_the_receiver_is_to_have_is_included(hook, notifier):
    with serving(hook) as url:
        notifier(url, include=["patient", "order", "findings"]).notify(replacing(sample()))
    data = received(hook)["data"]
    assert data["patient"]["patient_id"] == "SAMPLE-1"
    assert data["order"]["accession_number"] == "ACC-1"
    assert data["score_text"] == "score 0.93 (not calibrated on patients)"
    assert [one["label"] for one in data["lesions"]] == ["Lesion 1"]
    assert data["replaces"] == sample().result.result_id


def test_the_images_of_two_patients_are_told_of_without_a_name_alone(hook, notifier):
    of_another = with_study(sample(), patient_id="ANOTHER").instances
    both = replace(sample(), instances=(*sample().instances, *of_another))
    with serving(hook) as url:
        notifier(url).notify(both)
        with pytest.raises(DestinationRefused, match="two_patients"):
            notifier(url, include=["patient"]).notify(both)
    assert len(hook.requests) == 1


def test_a_receiver_that_is_gone_is_not_asked_again(hook, notifier):
    hook.status = 410
    with serving(hook) as url, pytest.raises(DestinationRefused, match="410"):
        notifier(url).notify(sample())


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
def test_any_other_answer_is_tried_again(hook, notifier, status):
    hook.status = status
    with serving(hook) as url, pytest.raises(DestinationUnavailable, match=str(status)):
        notifier(url).notify(sample())


def test_a_redirect_is_not_followed(hook, notifier):
    elsewhere = Server()
    with serving(elsewhere) as other, serving(hook) as url:
        hook.status, hook.answer_headers = 307, {"Location": other}
        with pytest.raises(DestinationUnavailable, match="307"):
            notifier(url).notify(sample())
    assert elsewhere.requests == []


@pytest.mark.parametrize("secrets", ["", 'secret = ""', 'secret = "whsec_%%%"', 'secret = "whsec_a"', "secret = []"])
def test_nothing_is_sent_unsigned(hook, notifier, secrets):
    with serving(hook) as url, pytest.raises(DestinationUnavailable, match="pager"):
        notifier(url, secrets).notify(sample())
    assert hook.requests == []


def test_an_error_does_not_repeat_the_path(hook, notifier):
    hook.status = 500
    with serving(hook) as url, pytest.raises(DestinationUnavailable) as error:
        notifier(f"{url}/a-secret?token=b").notify(sample())
    assert "secret" not in str(error.value)
    assert "token" not in str(error.value)
