"""The page of one counterparty: see party_page.py."""

from totes.dashboard import party_page
from totes.dashboard.view import view

party_page.show(view(), "counterparty")
