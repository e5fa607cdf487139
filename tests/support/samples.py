"""Plugins whose provider is inside them: what it answers follows from the key."""

from support.distributions import CONNECTOR, HEADER, HOOK, Site

MAILER = (
    HEADER
    + "from penguin_hub_sdk.connectors import Event\n"
    + CONNECTOR.replace(
        '    region: str = "eu"\n',
        '    region: Annotated[str, msgspec.Meta(pattern="^(eu|us)$")] = "eu"\n    signing_key: Secret | None = None\n',
    ).replace(
        "    async def check(self):\n",
        "    async def check(self):\n"
        "        count = int(await self.ctx.state.get('checks') or 0)\n"
        "        await self.ctx.state.set('checks', str(count + 1))\n"
        "        self.ctx.log.info('checking', key=self.ctx.config.api_key.reveal())\n"
        "        if self.ctx.config.api_key.reveal() == 'quota':\n"
        "            raise errors.QuotaExceeded('Used up.')\n"
        "        if self.ctx.config.api_key.reveal() == 'crash':\n"
        "            raise ValueError('the key is ' + self.ctx.config.api_key.reveal())\n"
        "        if self.ctx.config.api_key.reveal() == 'down':\n"
        "            raise errors.NetworkFailed('No route.')\n",
    )
    + """
class Verify:
    def verify(self, request, configs):
        if not any(c.signing_key and c.signing_key.reveal().encode() == request.body for c in configs):
            raise errors.SignatureInvalid("no")


def normalise(request):
    return ()


webhook = Webhook(verify=Verify(), normalise=normalise)
"""
    + HOOK.replace("connect=Connector", "connect=Connector, webhook=webhook")
)

SIMULATOR = (
    HEADER
    + """
class Settings(Config, frozen=True):
    pass


class Connector:
    def __init__(self, ctx):
        pass

    async def check(self):
        pass

    async def send(self, message):
        return Receipt("simulated")
"""
    + HOOK
)

CHAT = (
    HEADER
    + """
class Settings(Config, frozen=True):
    token: Secret


class Connector:
    def __init__(self, ctx):
        self.ctx = ctx

    async def check(self):
        pass

    async def deliver(self, event):
        if self.ctx.config.token.reveal() == "revoked":
            raise errors.AuthExpired("The token is revoked.")
"""
    + HOOK
)


def install(folder: Site) -> None:
    """A mailer with a webhook, a simulator, a destination; one for a later hub, and one that does not load."""
    folder.add("mailer", MAILER, readme="# Mailer\n\nSends mail.")
    folder.add("toy", SIMULATOR, manifest="sandbox = true\n")
    folder.add("chat", CHAT, manifest=folder.manifest("chat", category="communication"))
    folder.add("future", manifest='requires_hub = ">=3000"\n')
    folder.add("broken", "raise ValueError")
