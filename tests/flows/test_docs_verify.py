"""What docs/webhooks/verify.md tells receivers to write, run in each language against our signatures and forged ones.

Around each block of the page a few lines read requests from standard input, one JSON document a line, and print what
the block says of each. A block that crashes fails: a receiver answers nonsense with 401, never with 500.
"""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import pytest
from penguin_hub_sdk import signing
from support import pages

PAGE: Final = "webhooks/verify.md"
NOW: Final = 1_700_000_000
BODY: Final = '{"id":"evt_1","type":"email.sent","data":{"n":1.0,"path":"a\\/b","face":"\U0001f427"}}\n'.encode()
ID: Final = "evt_06f3k2v9d5q0c3t1m8s7r6p4mu"
SECRET, OLD, FOREIGN = (signing.new_secret() for _ in range(3))
KEY = signing.new_key()

# The lines around a block, and what runs them.
HARNESS: Final = {
    "stdlib": (
        ".py",
        """
import json, sys
for line in sys.stdin:
    case = json.loads(line)
    print(int(verify(case["secret"], case["headers"], base64.b64decode(case["body"]), case["now"])))
""",
    ),
    "standardwebhooks": (
        ".py",
        """
import base64, datetime, json, sys
import standardwebhooks.webhooks as package

class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(case["now"], tz)

package.datetime = Clock
for line in sys.stdin:
    case = json.loads(line)
    print(int(verify(case["secret"], case["headers"], base64.b64decode(case["body"]))))
""",
    ),
    "node": (
        ".cjs",
        """
for (const line of require("node:fs").readFileSync(0, "utf8").trim().split("\\n")) {
  const one = JSON.parse(line);
  console.log(Number(verify(one.secret, one.headers, Buffer.from(one.body, "base64"), one.now)));
}
""",
    ),
    "php": (
        ".php",
        """
while (($line = fgets(STDIN)) !== false) {
    $case = json_decode($line, true, 512, JSON_THROW_ON_ERROR);
    echo (int) verify($case['secret'], $case['headers'], base64_decode($case['body']), $case['now']), "\\n";
}
""",
    ),
    "ruby": (
        ".rb",
        """
require "json"
STDIN.each_line do |line|
  one = JSON.parse(line)
  puts verify(one["secret"], one["headers"], one["body"].unpack1("m"), one["now"]) ? 1 : 0
end
""",
    ),
    "ed25519-python": (
        ".py",
        """
import json, sys
for line in sys.stdin:
    case = json.loads(line)
    print(int(is_signed(case["key"], base64.b64decode(case["content"]), case["signature"])))
""",
    ),
    "ed25519-node": (
        ".cjs",
        """
for (const line of require("node:fs").readFileSync(0, "utf8").trim().split("\\n")) {
  const one = JSON.parse(line);
  console.log(Number(isSigned(one.key, Buffer.from(one.content, "base64"), one.signature)));
}
""",
    ),
}
PROGRAMS: Final = {".py": (sys.executable, "-I"), ".cjs": ("node",), ".php": ("php",), ".rb": ("ruby",)}
LANGUAGES: Final = ("stdlib", "standardwebhooks", "node", "php", "ruby")

# The package is stricter than the standard here, and the page says so: it reads the body as text, and wants one space.
REFUSED_BY_THE_PACKAGE: Final = {"a body that is not UTF-8", "two spaces before the signature"}


def request(
    headers: Mapping[str, str | None] | None = None,
    *,
    secrets: Iterable[str] = (SECRET,),
    at: int = NOW,
    body: bytes = BODY,
    sent: bytes | None = None,
) -> dict[str, Any]:
    """A delivery as the hub makes it, then changed: `headers` replaces (None removes), `sent` is another body."""
    made = {**signing.headers([signing.parse(one) for one in secrets], ID, at, body), **(headers or {})}
    return {
        "secret": SECRET,
        "headers": {name: value for name, value in made.items() if value is not None},
        "body": base64.b64encode(body if sent is None else sent).decode(),
        "now": NOW,
    }


def signed(content: bytes, secret: str = SECRET) -> str:
    """A signature over a content that the SDK would not sign."""
    return signing.parse(secret).sign(content)


GOOD: Final = signing.signature([signing.parse(SECRET)], ID, NOW, BODY)
WRONG: Final = signing.signature([signing.parse(FOREIGN)], ID, NOW, BODY)
THOUSAND: Final = " ".join([WRONG] * 1000)

ACCEPTED: Final = {
    "as it comes": request(),
    "an empty body": request(body=b""),
    "a body that is not UTF-8": request(body=b'{"\xff\xfe":"\x00"}'),
    "rotated: ours is the new secret": request(secrets=(SECRET, OLD)),
    "rotated: ours is the old secret": request(secrets=(OLD, SECRET)),
    "rotated from ed25519": request(secrets=(SECRET, KEY)),
    "rotated to ed25519": request(secrets=(KEY, SECRET)),
    "299 seconds old": request(at=NOW - 299),
    "299 seconds early": request(at=NOW + 299),
    "two spaces before the signature": request({"webhook-signature": f"{WRONG}  {GOOD}"}),
    "after a thousand of somebody else": request({"webhook-signature": f"{THOUSAND} {GOOD}"}),
    # Published with the standard.
    "the standard's own example": {
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "headers": {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
        "body": base64.b64encode(b'{"test": 2432232314}').decode(),
        "now": 1614265330,
    },
}


def with_stamp(stamp: str) -> dict[str, Any]:
    """A timestamp that is not what it should be, under a signature that covers it."""
    signature = signed(f"{ID}.{stamp}.".encode() + BODY)
    return request({"webhook-timestamp": stamp, "webhook-signature": signature})


REFUSED: Final = {
    "301 seconds old": request(at=NOW - 301),
    "301 seconds early": request(at=NOW + 301),
    "another body": request(sent=BODY.replace(b"email.sent", b"email.open")),
    "the same JSON in other bytes": request(sent=json.dumps(json.loads(BODY)).encode()),
    "a body that is not UTF-8, unsigned": request(sent=b"\xff\xfe\x00"),
    "another id": request({"webhook-id": "evt_2"}),
    "another timestamp": request({"webhook-timestamp": str(NOW - 1)}),
    "somebody else's secret": request(secrets=(FOREIGN,)),
    "rotated away from ours": request(secrets=(OLD, FOREIGN)),
    "ed25519 alone": request(secrets=(KEY,)),
    "no id": request({"webhook-id": None}),
    "no timestamp": request({"webhook-timestamp": None}),
    "no signature": request({"webhook-signature": None}),
    "no header at all": request(dict.fromkeys(signing.headers([], ID, NOW, BODY))),
    "an empty id, signed": request(
        {"webhook-id": "", "webhook-signature": signed(f".{NOW}.".encode() + BODY)},
    ),
    **{
        f"timestamp {stamp!r}": with_stamp(stamp)
        for stamp in (
            "", "nan", "inf", "1.5", f"{NOW}.7", f" {NOW}", f"{NOW} ", f"+{NOW}", f"-{NOW}", "1.7e9", "0x6553f100",
            "1_700_000_000", "\uff11\uff17\uff10\uff10\uff10\uff10\uff10\uff10\uff10\uff10", f"{NOW}\n", "9" * 40,
            "\u00ff",
        )
    },
    **{
        f"signature {name}": request({"webhook-signature": value})
        for name, value in {
            "empty": "",
            "a space": " ",
            "v1": "v1",
            "v1,": "v1,",
            "v1,@@@": "v1,@@@",
            "v1,abc": "v1,abc",
            "of version 2": GOOD.replace("v1,", "v2,"),
            "without its version": GOOD.removeprefix("v1,"),
            "with two commas": GOOD.replace("v1,", "v1,,"),
            "with a tail": f"{GOOD},x",
            "cut": GOOD[:-6],
            "in other letters": GOOD.swapcase(),
            "behind a tab": f"{WRONG}\t{GOOD}",
            "beyond ASCII": "v1,\u00fc\u00ff",
            "a thousand times": THOUSAND,
        }.items()
    },
}  # fmt: skip

CONTENT: Final = f"{ID}.{NOW}.".encode() + BODY
ED: Final = cast("signing.Ed25519Signer", signing.parse(KEY))
ED_GOOD: Final = ED.sign(CONTENT)
ED_SIGNATURES: Final = {
    ED_GOOD: True,
    signed(CONTENT, signing.new_key()): False,
    ED.sign(CONTENT + b" "): False,
    GOOD: False,
    ED_GOOD.replace("v1a,", "v1,"): False,
    ED_GOOD.replace("v1a,", "v2a,"): False,
    ED_GOOD[:-8]: False,
    "v1a,@@@": False,
    "v1a,": False,
    "v1a": False,
    "": False,
}


def ask(name: str, cases: Iterable[dict[str, Any]], folder: Path) -> list[bool]:
    """What the block of that name says of each case."""
    suffix, around = HARNESS[name]
    program = PROGRAMS[suffix]
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not installed: .ci/run installs it where it may")
    script = folder / f"block{suffix}"
    script.write_text(("<?php\n" if suffix == ".php" else "") + pages.block(PAGE, name) + around, encoding="utf-8")
    lines = "\n".join(map(json.dumps, cases))
    done = subprocess.run((*program, script), input=lines, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [{"1": True, "0": False}[line] for line in done.stdout.split()]


@pytest.mark.parametrize("language", LANGUAGES)
def test_w31_w36_w37_receivers_of_each_language_take_what_the_hub_signs(language: str, tmp_path: Path) -> None:
    said = dict(zip(ACCEPTED, ask(language, ACCEPTED.values(), tmp_path), strict=True))
    refused = REFUSED_BY_THE_PACKAGE if language == "standardwebhooks" else set()
    assert {name for name, good in said.items() if not good} == refused


@pytest.mark.parametrize("language", LANGUAGES)
def test_w39_receivers_of_each_language_refuse_what_it_did_not(language: str, tmp_path: Path) -> None:
    said = dict(zip(REFUSED, ask(language, REFUSED.values(), tmp_path), strict=True))
    assert [name for name, good in said.items() if good] == []


@pytest.mark.parametrize("language", ["ed25519-python", "ed25519-node"])
def test_w37_receivers_with_the_public_key_alone(language: str, tmp_path: Path) -> None:
    content = base64.b64encode(CONTENT).decode()
    cases = [{"key": ED.public(), "content": content, "signature": signature} for signature in ED_SIGNATURES]
    said = dict(zip(ED_SIGNATURES, ask(language, cases, tmp_path), strict=True))
    assert said == ED_SIGNATURES


def test_every_block_of_code_on_the_page_is_run() -> None:
    assert {block.name for block in pages.blocks(PAGE) if block.language} == set(HARNESS)
