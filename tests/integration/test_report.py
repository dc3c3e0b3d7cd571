"""The scheduled report: its numbers, when it is sent, and how."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path
from zoneinfo import ZoneInfo

import boto3
import pytest
from installation import Installation
from mail_server import PASSWORD, REFUSED, USER, MailServer, mail_server
from replicas import open_reading
from s3_service import S3Service
from sample_business import SampleBusiness

from totes.config.settings import load_settings
from totes.dashboard import metrics
from totes.dashboard.config_file import Schedule
from totes.errors import DeliveryError, UsageError
from totes.notifications import mail
from totes.notifications.report import compose
from totes.notifications.schedule import last_due

pytestmark = pytest.mark.few(5)

COMPANY = '<b>Totes</b> & "Sons"'
RECIPIENTS = ("boss@totes.example", "accounts@totes.example")


def configure(
    installation: Installation, folder: Path, *recipients: str, schedule: str = "daily"
) -> Installation:
    file = folder / "dashboard.toml"
    file.write_text(
        f'[report]\nschedule = "{schedule}"\nat = "00:00"\nrecipients = {[*recipients]}'
    )
    return installation.with_settings(
        dashboard_config=str(file),
        dashboard_company=COMPANY,
        dashboard_url="https://totes.example",
    )


def with_mail(installation: Installation, server: MailServer, **settings: str) -> Installation:
    return installation.with_settings(
        smtp_server=server.address,
        smtp_sender="reports@totes.example",
        smtp_user=USER,
        smtp_password=PASSWORD,
        **settings,
    )


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of mail_server, whose root certificate is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
    return tmp_path


@pytest.fixture
def office(business: SampleBusiness, trusted: Path) -> Iterator[Installation]:
    """The sample business with a daily report."""
    yield configure(business.installation, trusted, *RECIPIENTS)
    business.installation.change_warehouse("DELETE FROM totes.sent_reports")


def expire(installation: Installation) -> None:
    """Let the last report be of the day before."""
    installation.change_warehouse(
        "UPDATE totes.sent_reports SET due_at = due_at - interval '1 day'"
    )


def test_a_report_has_the_numbers_of_its_period_and_of_the_previous_one(
    installation: Installation, tmp_path: Path
) -> None:
    installation.add_orders_of_twenty_days().run()
    [(units, before)] = installation.query(
        "SELECT"
        " sum(units_sold) FILTER (WHERE created_date BETWEEN '2022-10-31' AND '2022-11-06'),"
        " sum(units_sold) FILTER (WHERE created_date BETWEEN '2022-10-24' AND '2022-10-30')"
        " FROM current_sales_order"
    )
    office = configure(installation, tmp_path, *RECIPIENTS, schedule="weekly")
    shown = json.loads(office.totes("report", "--json").stdout)
    assert shown["period"] == "31 Oct 2022 to 6 Nov 2022"
    assert shown["previous"] == "24 Oct 2022 to 30 Oct 2022"
    [line] = [line for line in shown["of_period"] if line["label"] == "Units"]
    change = f"{(Decimal(units) / before - 1) * 100:+.1f} %"
    assert [*line.values()] == ["Units", f"{units:,}", f"{before:,}", change]
    assert [line["label"] for line in shown["of_all_days"]][:2] == [
        "Receivables",
        "Overdue receivables",
    ]
    text = office.totes("report").stdout
    [row] = [line for line in text.splitlines() if line.startswith("Units ")]
    assert row.split() == ["Units", f"{units:,}", f"{before:,}", *change.split()]


def test_a_report_has_the_time_zone_and_currency_of_the_company(office: Installation) -> None:
    company = {"dashboard_time_zone": "Asia/Tokyo", "dashboard_currency": "EUR"}
    shown = json.loads(office.with_settings(**company).totes("report", "--json").stdout)
    assert shown["notes"][0].startswith("Amounts in EUR. Data as of ")
    assert shown["notes"][0].endswith(" JST.")
    assert "in=" not in shown["url"]  # the page has the same default


def test_a_report_says_that_its_period_is_incomplete(business: SampleBusiness) -> None:
    with open_reading(business.reader) as reading:
        monday = metrics.choices(reading).today
        assert monday.weekday() == 0
        notes = {}
        for days in (0, 2):
            checked_at = datetime.combine(monday - timedelta(days=days), time(6), UTC)
            reading.state = replace(reading.state, checked_at=checked_at)
            notes[days] = compose(
                reading, "weekly", monday, currency="GBP", company="Totes", alerts=[]
            ).notes
    assert not any("incomplete" in note for note in notes[0])
    said = f"This period is incomplete: totesys was last checked at {monday - timedelta(days=2)} "
    assert any(note.startswith(said) for note in notes[2])


def test_a_mail_is_sent_once_for_each_due_time(office: Installation, tmp_path: Path) -> None:
    with mail_server(tmp_path) as server:
        office = with_mail(office, server)
        for _ in range(2):  # the first due time is only recorded
            assert office.totes("alerts", "--send").exit_code == 0
        assert server.mails == []
        expire(office)
        for _ in range(2):
            assert office.totes("alerts", "--send").exit_code == 0
    [(recipients, sent)] = server.mails
    assert server.logins == 1
    assert recipients == [*RECIPIENTS]
    assert sent["Subject"].startswith(f"{COMPANY}: daily report: ")
    assert sent["From"] == "reports@totes.example"
    plain, html = sent.iter_parts()
    assert COMPANY in plain.get_content()
    assert "<h1" in html.get_content()
    assert "<b>" not in html.get_content()
    assert "&lt;b&gt;Totes&lt;/b&gt; &amp; &quot;Sons&quot;" in html.get_content()
    assert 'href="https://totes.example/report?period=yesterday' in html.get_content()


def test_a_report_that_can_not_be_sent_is_sent_by_the_next_check(
    office: Installation, tmp_path: Path
) -> None:
    with mail_server(tmp_path) as server:
        office = with_mail(office, server)
        office.totes("alerts", "--send")
        expire(office)
        assert office.with_settings(smtp_user="other").totes("alerts", "--send").exit_code == 7
        assert server.mails == []
        assert office.totes("alerts", "--send").exit_code == 0
        assert len(server.mails) == 1


def test_a_failing_topic_does_not_repeat_the_mail(
    office: Installation, tmp_path: Path, service: S3Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.environment(monkeypatch)
    topic = "arn:aws:sns:us-east-1:123456789012:missing"
    with mail_server(tmp_path) as server:
        office = with_mail(office, server, report_topic=topic)
        office.totes("alerts", "--send")
        expire(office)
        assert [office.totes("alerts", "--send").exit_code for _ in range(2)] == [7, 7]
    assert len(server.mails) == 1


def configured(
    server: MailServer, monkeypatch: pytest.MonkeyPatch, **settings: str
) -> mail.MailServer:
    """Return the mail server of the settings of `with_mail`, changed by others."""
    login = {"smtp_user": USER, "smtp_password": PASSWORD}
    needed = {"smtp_server": server.address, "smtp_sender": "reports@totes.example"}
    for name, value in {**needed, **login, **settings}.items():
        monkeypatch.setenv(f"TOTES_{name.upper()}", value)
    found = mail.MailServer.of(load_settings())
    assert found is not None
    assert PASSWORD not in repr(found)
    return found


def message(to: str = RECIPIENTS[0]) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"] = "reports@totes.example", to
    return made


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_mail_is_encrypted(trusted: Path, monkeypatch: pytest.MonkeyPatch, tls: str) -> None:
    with mail_server(trusted, tls) as server:
        configured(server, monkeypatch, smtp_tls=tls).send(message())
    assert (len(server.mails), server.logins) == (1, 1)


def test_no_password_is_sent_without_encryption(
    trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mail_server(trusted, "off") as server:
        with pytest.raises(UsageError, match="would send the password unencrypted"):
            configured(server, monkeypatch, smtp_tls="off")
        configured(server, monkeypatch, smtp_tls="off", smtp_user="", smtp_password="").send(
            message()
        )
    assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("tls", "settings", "error"),
    [
        ("starttls", {"smtp_password": f"not {PASSWORD}"}, f"rejects user {USER} (code 535)."),
        ("starttls", {"smtp_server": "127.0.0.1:{port}"}, "has a certificate that can't be ver"),
        ("off", {}, "offers no encryption: correct TOTES_SMTP_SERVER and TOTES_SMTP_TLS."),
        ("tls", {"smtp_server": "localhost:1"}, "localhost:1 can't be reached: Connection refuse"),
        ("starttls", {"smtp_tls": "tls"}, "can't be reached: "),
    ],
)
def test_an_error_of_the_mail_server_is_one_line_without_the_password(
    trusted: Path, monkeypatch: pytest.MonkeyPatch, tls: str, settings: dict[str, str], error: str
) -> None:
    with mail_server(trusted, tls) as server:
        port = server.address.partition(":")[2]
        changed = {name: value.format(port=port) for name, value in settings.items()}
        with pytest.raises(DeliveryError) as raised:
            configured(server, monkeypatch, **changed).send(message())
    assert error in str(raised.value)
    assert "\n" not in str(raised.value)
    assert PASSWORD not in str(raised.value)
    assert server.mails == []


def test_refused_recipients_are_an_error(trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        mail_server(trusted) as server,
        pytest.raises(DeliveryError, match=f"refuses the recipients {REFUSED}."),
    ):
        configured(server, monkeypatch).send(message(REFUSED))


def test_the_other_recipients_get_the_mail(
    trusted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with mail_server(trusted) as server:
        configured(server, monkeypatch).send(message(f"{REFUSED}, {RECIPIENTS[0]}"))
    assert [to for to, _ in server.mails] == [[RECIPIENTS[0]]]
    assert f"refuses the recipients {REFUSED};" in caplog.text


def test_report_sends_it_at_once(office: Installation, tmp_path: Path) -> None:
    with mail_server(tmp_path) as server:
        sent = with_mail(office, server).totes("report", "--send")
    assert (sent.exit_code, sent.stdout) == (0, "The report is sent.\n")
    assert len(server.mails) == 1


@pytest.mark.parametrize("recipients", [(), RECIPIENTS])
def test_a_report_needs_a_way_to_be_sent(
    office: Installation, tmp_path: Path, recipients: tuple[str, ...]
) -> None:
    configure(office, tmp_path, *recipients)
    result = office.totes("report", "--send")
    assert result.exit_code == 2
    assert "TOTES_SMTP_SERVER" in result.stderr or "TOTES_REPORT_TOPIC" in result.stderr


def test_a_report_is_published_as_text(
    office: Installation, tmp_path: Path, service: S3Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.environment(monkeypatch)
    sns, sqs = (boto3.client(name, region_name="us-east-1") for name in ("sns", "sqs"))
    topic = sns.create_topic(Name="reports")["TopicArn"]
    queue = sqs.create_queue(QueueName="reports")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=arn["Attributes"]["QueueArn"],
        Attributes={"RawMessageDelivery": "true"},
    )
    configure(office, tmp_path)
    assert office.with_settings(report_topic=topic).totes("report", "--send").exit_code == 0
    [message] = sqs.receive_message(QueueUrl=queue)["Messages"]
    assert message["Body"] == office.totes("report").stdout
    missing = office.with_settings(report_topic=f"{topic}-missing").totes("report", "--send")
    assert missing.exit_code == 7


LONDON = ZoneInfo("Europe/London")


@pytest.mark.parametrize(
    ("schedule", "zone", "now", "due"),
    [
        ("daily", UTC, "2026-11-29T07:00", "2026-11-29T07:00"),
        ("daily", UTC, "2026-11-29T06:59", "2026-11-28T07:00"),
        ("weekly", UTC, "2026-11-29T12:00", "2026-11-23T07:00"),
        ("weekly", UTC, "2026-11-30T06:00", "2026-11-23T07:00"),
        ("monthly", UTC, "2026-12-31T12:00", "2026-12-01T07:00"),
        ("monthly", UTC, "2026-12-01T06:00", "2026-11-01T07:00"),
        ("daily", LONDON, "2026-07-01T06:00", "2026-07-01T06:00"),
        ("daily", LONDON, "2026-07-01T05:59", "2026-06-30T06:00"),
    ],
)
def test_a_report_is_due_at_its_time_in_the_time_zone(
    schedule: str, zone: ZoneInfo, now: str, due: str
) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    found = last_due(Schedule.model_validate({"schedule": schedule}), moment, zone)
    assert found.astimezone(UTC) == datetime.fromisoformat(due).replace(tzinfo=UTC)
