"""What schemathesis must be told to test the API. From the repository's root:

    cargo run -p control-api --example served 127.0.0.1:18080    # prints tokens
    SCHEMATHESIS_HOOKS=control/api/tests/schemathesis.py schemathesis run \\
        http://127.0.0.1:18080/api/v1/openapi.json -H "Authorization: Bearer $OWNER" \\
        --exclude-path /api/v1/events --exclude-checks positive_data_acceptance,ignored_auth

Events never end. A value of the right type may still be refused (there is no such port), so that is no failure; nor is
429 to who guesses tokens.
"""

import schemathesis


@schemathesis.serializer("application/toml")
def toml(ctx, value):
    """Bodies of TOML are text in the document."""
    return value.encode() if isinstance(value, str) else str(value).encode()
