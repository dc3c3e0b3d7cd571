"""The words in the simulated rows: those of the live totesys, and non-ASCII ones."""

FIRST_NAMES = (
    "Jeremie", "Deron", "Ana", "Magdalena", "Korey", "Raphael", "Oswaldo", "Brody", "Jazmyn",
    "Meda", "Imani", "Stan", "Tom", "Jett", "Irving", "Tomasa", "Pierre", "Flavio", "Hettie",
    "Cleora", "Nettie", "Elmore",
)  # fmt: skip
LAST_NAMES = (
    "O'Keefe", "Franey", "Beier", "Erdman", "Glover", "Zieme", "Kreiger", "Rippin", "Ratke",
    "Kuhn", "Cremin", "Walker", "Lehner", "VonRueden", "Gutkowski", "Parisian", "Moore", "Sauer",
    "Kulas", "O'Hara",
)  # fmt: skip
STREETS = (
    "Herzog Via", "Alexie Cliffs", "Sincere Fort", "Rogahn Skyway", "Upton Track",
    "Kailey Island", "Durgan Common", "Edward Garden", "Bernier Mission", "Arch Dale",
    "Orin Extension", "Koch Drives", "Cole Corner", "Georgette Ridge",
)  # fmt: skip
LINES_2 = ("Tremaine Circles", "Torphy Turnpike", "Axel Freeway", "Cielo Radial", "Nora Bridge")
DISTRICTS = ("Avon", "Bedfordshire", "Buckinghamshire", "Borders", "Berkshire", "Cambridgeshire")
CITIES = (
    "New Patienceburgh", "Aliso Viejo", "Lake Charles", "Olsonside", "Fort Shadburgh",
    "Kendraburgh", "North Deshaun", "Suffolk", "Corpus Christi", "Pricetown", "Hackensack",
)  # fmt: skip
COUNTRIES = (
    "Turkey", "San Marino", "Samoa", "Republic of Korea", "Bosnia and Herzegovina", "Zimbabwe",
    "United Kingdom", "Democratic People's Republic of Korea", "Bouvet Island (Bouvetoya)",
    "Svalbard & Jan Mayen Islands", "Falkland Islands (Malvinas)", "Iceland", "Japan", "Austria",
)  # fmt: skip
COMPANIES = (
    "{0} and Sons", "{0}, {1} and {2}", "{0} Inc", "{0} LLC", "{0} - {1}", "{0} Group",
)  # fmt: skip
DEPARTMENTS = (
    ("Sales", "Manchester", "Richard Roma"),
    ("Purchasing", "Manchester", "Naomi Lapaglia"),
    ("Production", "Leeds", "Chester Ming"),
    ("Dispatch", "Leds", "Mark Hanna"),  # a typo in the live totesys, which is kept
    ("Finance", "Manchester", "Jordan Belfort"),
    ("Facilities", "Manchester", "Shelley Levene"),
    ("Communications", "Leeds", "Ann Blake"),
    ("HR", "Leeds", "James Link"),
)
CURRENCIES = ("GBP", "USD", "EUR")
PAYMENT_TYPES = ("SALES_RECEIPT", "SALES_REFUND", "PURCHASE_PAYMENT", "PURCHASE_REFUND")
MATERIALS = (
    "Granite", "Bronze", "Soft", "Steel", "Fresh", "Cotton", "Frozen", "Wooden", "Plastic",
    "Concrete", "Metal", "Rubber",
)  # fmt: skip
FOLDERS = (
    "/home/user/dir", "/usr/share", "/usr", "/opt/lib", "/net", "/etc/periodic", "/usr/obj",
    "/etc", "/Library", "/System", "/usr/local/bin", "/usr/ports", "/sys",
)  # fmt: skip

NEW_CURRENCIES = ("JPY", "CHF", "SEK", "PLN", "KWD", "INR", "BRL", "NZD", "ZAR", "CLF")
FOREIGN_FIRST_NAMES = ("Zoë", "Łukasz", "Søren", "Ἀλέξανδρος", "玲奈", "سارة", "İrem", "Nguyễn")
FOREIGN_LAST_NAMES = ("Müller-Lüdenscheidt", "Dvořák", "O’Brien", "Æsir", "山田", "חזן", "Pérez")  # noqa: RUF001  a typographic apostrophe
FOREIGN_COMPANIES = ("Straße & Söhne GmbH", "Société Générale d'Été", "株式会社トート", "🧵 Totes")
FOREIGN_CITIES = ("Kraków", "Reykjavík", "São Paulo", "東京", "Владивосток", "Düsseldorf")
FOREIGN_COUNTRIES = ("Côte d'Ivoire", "Åland Islands", "Türkiye", "Curaçao", "日本")
