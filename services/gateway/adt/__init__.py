"""HL7 v2 ADT over MLLP: who a patient is by now (IHE ITI-30, RAD-12). docs/hl7.md is the interface description."""
