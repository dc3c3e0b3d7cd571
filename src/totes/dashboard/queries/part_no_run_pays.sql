-- That no run pays a payment: it is due on a weekend, or on the day it was made.
(extract(ISODOW FROM {day}) > 5 OR {due_at_once})
