"""The page of one member of staff: see party_page.py."""

from totes.dashboard import party_page
from totes.dashboard.view import view

party_page.show(view(), "staff")
