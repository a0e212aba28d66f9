"""The prompt of the translation model, exactly as the program builds it at run time."""

LANGS = {"de": "German", "it": "Italian", "zh": "Chinese"}
SYSTEM = ("Translate live speech from English into {lang}. Give only the translation of what has been said so far, "
          "and continue the translation that has begun.")
USER = "English speech:\n{source}"

# Gemma-4's layout for text (docs/models.md, section 2.4). Written for minijinja as well as jinja2:
# no namespaces, no macros.
CHAT_TEMPLATE = """{{ bos_token }}{%- for message in messages -%}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{{ '<|turn>' + role + '\\n' + (message['content'] | trim) + '<turn|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|turn>model\\n' }}{%- endif -%}
"""


def turn(source):
    """A user turn and the opening of the model's."""
    return f"<|turn>user\n{USER.format(source=source.strip())}<turn|>\n<|turn>model\n"


def head(lang):
    return f"<bos><|turn>system\n{SYSTEM.format(lang=LANGS[lang])}<turn|>\n"


def prompt(lang, source, accepted=""):
    return head(lang) + turn(source) + accepted
