"""The pages, one file each. Streamlit runs app.py, which has the one drawn that is asked for."""
