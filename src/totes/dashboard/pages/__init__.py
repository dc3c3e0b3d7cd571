"""The pages, one file each. Streamlit runs app.py, which draws the page of the URL."""
