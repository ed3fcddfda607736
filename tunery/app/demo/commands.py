"""Ready-made commands for what the demo left running."""

from rich.console import Console

from tunery.app.demo.api_client import ApiClient


def print_commands(console: Console, base_url: str, kept: dict[str, str]) -> None:
    """Commands for curl, the `openai` client and `hf`, with the buyer's key filled in."""
    with_key = ApiClient(base_url, kept["buyer"])
    organisation = with_key.query("{ organisation { name } }")["organisation"]["name"]
    with_key.close()
    console.print(f"\nThe demo's data is here. These act as [bold]{organisation}[/], which bought the adapter:\n")
    for title, command in commands(base_url, kept):
        console.print(f"[bold]{title}[/]")
        print(command, end="\n\n")  # noqa: T201 - to be copied: no wrapping, no markup


def commands(base_url: str, kept: dict[str, str]) -> list[tuple[str, str]]:
    """Titles and shell commands; `kept` holds the two API keys and the hub repository."""
    key, repository = kept["buyer"], kept["repository"]
    return [
        (
            "GraphQL with curl",
            (
                f"curl -s {base_url}/graphql -H 'content-type: application/json' -H 'authorization: Bearer {key}' \\\n"
                """  -d '{"query": "{ organisation { name } usage { meter quantity amount } }"}'"""
            ),
        ),
        (
            "Chat with curl",
            (
                f"curl -sN {base_url}/v1/chat/completions -H 'content-type: application/json'"
                f" -H 'authorization: Bearer {key}' \\\n"
                """  -d '{"model": "support", "stream": true, "temperature": 0,"""
                """ "messages": [{"role": "user", "content": "How long does delivery take?"}]}'"""
            ),
        ),
        (
            "Chat with the openai client",
            (
                f"OPENAI_BASE_URL={base_url}/v1 OPENAI_API_KEY={key} .venv/bin/python -c '\n"
                "from openai import OpenAI\n"
                'messages = [{"role": "user", "content": "How long does delivery take?"}]\n'
                'answer = OpenAI().chat.completions.create(model="support", messages=messages, temperature=0)\n'
                "print(answer.choices[0].message.content)'"
            ),
        ),
        (
            "Download with hf",
            f"HF_ENDPOINT={base_url}/hub HF_TOKEN={key} .venv/bin/hf download {repository}",
        ),
    ]
