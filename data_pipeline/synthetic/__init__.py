"""A deterministic synthetic exchange that writes raw files in B3's formats.

    ExchangeConfig -> companies, calendars -> market -> actions -> microstructure -> derivatives -> writer, feeds, truth

The economy (`market`) moves an efficient mid; what the companies do (`actions`) turns it into quoted prices; the
`microstructure` shows them as records; `derivatives` adds what trades around the shares; `exchange` writes it all.
`reference_files` writes the same exchange's price reports, settlements, rates and index levels.
"""

from data_pipeline.synthetic.config import ExchangeConfig
from data_pipeline.synthetic.exchange import ExchangeManifest, write_exchange

__all__ = ["ExchangeConfig", "ExchangeManifest", "write_exchange"]
