"""Who sees the page: sign-in with Streamlit's OpenID Connect, the roles of users, and a limit."""

import secrets
import time

import streamlit as st

from totes.config.sign_in import Role
from totes.dashboard import text
from totes.dashboard.preferences import preferences
from totes.dashboard.server.middleware import RUNS, is_allowed

MAX_AGE_SECONDS = 24 * 60 * 60
"""How long a sign-in lasts; after that, the provider is asked again."""

_TAB = "tab-id"
"""Key of the session state: a random name of this tab."""


def user() -> str:
    """Return the email address of the signed-in user; "" without sign-in."""
    return text.plain(st.user.get("email")) if preferences().sign_in else ""


def is_operator() -> bool:
    """Return whether the user has the role of an operator.

    Without sign-in, all users are operators, or none is.
    """
    if preferences().sign_in is None:
        return not preferences().viewers_only
    return _role() is Role.OPERATOR


def admit_user() -> bool:
    """Return whether to draw the page; if not, show the reason and what to do."""
    if not is_allowed(RUNS, st.session_state.setdefault(_TAB, secrets.token_hex())):
        st.warning("Too many requests in a minute. Wait a minute, then reload the page.")
        return False
    if preferences().sign_in is None or _role() is not None:
        return True
    st.title("No access" if _is_signed_in() else "Sign in")
    st.text(preferences().company)
    if not _is_signed_in():
        st.text("Sign in to see the dashboard.")
        _sign_in_button()
        return False
    st.text(f"You are signed in as {user() or 'a user without an email address'}.")
    st.text(
        f"This address has no access. Ask {preferences().contact} for access, or sign out and use "
        "another address."
    )
    _sign_out_button()
    return False


def refuse_viewer(title: str) -> None:
    """Show, instead of a page for operators, that the user may not see it."""
    st.title(title)
    st.text(f"Only operators see this page. Ask {preferences().contact} for that role.")


def show_user() -> None:
    """Show who is signed in, with a button to sign out; nothing without sign-in."""
    if preferences().sign_in is not None:
        st.divider()
        st.text(user())
        _sign_out_button()


def _sign_in_button() -> None:
    sign_in = preferences().sign_in
    if sign_in is not None and st.context.is_embedded:  # providers refuse to be shown in a frame
        st.link_button("Open the dashboard to sign in", sign_in.url)
    else:
        st.button("Sign in", type="primary", icon=":material/login:", on_click=st.login)


def _sign_out_button() -> None:
    st.button("Sign out", icon=":material/logout:", on_click=st.logout)


def _role() -> Role | None:
    sign_in = preferences().sign_in
    return sign_in.role({**st.user.to_dict()}) if sign_in and _is_signed_in() else None


def _is_signed_in() -> bool:
    """Return whether the user signed in recently."""
    issued = st.user.get("iat")
    return (
        st.user.get("is_logged_in") is True
        and isinstance(issued, int | float)
        and time.time() - issued < MAX_AGE_SECONDS
    )
