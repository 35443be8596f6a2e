import type { ClientFamily } from '../../kit/http/headers/client-family.ts';

/** From where a token is used, without an address. The same for all requests of an hour from the same network and client. */
export interface TokenLocation {
  /** Hours since 1970. */
  hour: number;
  /** The country's code by ISO 3166-1, or `T1` for Tor; null if the platform does not know it. */
  country: string | null;
  /** The number of the network (autonomous system); null if the platform does not know it. */
  asn: number | null;
  client: ClientFamily;
}
