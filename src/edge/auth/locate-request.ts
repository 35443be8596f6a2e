import { HOUR_MS } from '../kit/async/durations.ts';
import { identifyClientFamily } from '../kit/http/headers/client-family.ts';
import type { TokenLocation } from './identity/token-location.ts';

/** @returns from where a request comes, according to the platform and to the client itself */
export function locateRequest(request: Request, now: number): TokenLocation {
  const { country, asn } = request.cf ?? {};
  return {
    hour: Math.floor(now / HOUR_MS),
    country: typeof country === 'string' && /^[A-Z][A-Z0-9]$/.test(country) ? country : null,
    asn: typeof asn === 'number' && Number.isSafeInteger(asn) && asn > 0 ? asn : null,
    client: identifyClientFamily(request.headers),
  };
}
