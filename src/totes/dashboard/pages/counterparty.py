"""The page of one counterparty: see party_page.py."""

from totes.dashboard.navigation.view import view
from totes.dashboard.pages import party_page

party_page.show(view(), "counterparty")
