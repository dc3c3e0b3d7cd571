"""The pages, one file each. Streamlit runs app.py, which draws the page of the URL.

Two modules have what two pages share: `order_page` for sales and purchases, `party_page` for a
counterparty and a member of staff.
"""
