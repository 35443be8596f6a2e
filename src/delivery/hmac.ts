/** Senders that sign the body alone, each with a header and an encoding of its own. */
import { toHex } from '../http/bytes.ts';
import { candidates, type HashName, type SignatureScheme, schemeOf, sign, toBase64 } from './signature.ts';

export interface HmacOptions {
  /** The header that the signature comes in. */
  header: string;
  /** Default `SHA-256`. */
  algorithm?: HashName;
  /** Default `hex`. */
  encoding?: 'hex' | 'base64';
  /** What stands before the signature in the header, such as `sha256=`. */
  prefix?: string;
}

/**
 * @returns what verifies an HMAC of the raw body. Such a scheme covers neither an id nor a time: the same body is the same
 * event, whatever id it comes under.
 */
export function hmac({ header, algorithm = 'SHA-256', encoding = 'hex', prefix = '' }: HmacOptions): SignatureScheme {
  return schemeOf(
    (headers) => {
      const value = headers.get(header);
      if (!value?.startsWith(prefix)) return undefined;
      return { signatures: candidates([value.slice(prefix.length)], encoding, algorithm), before: '' };
    },
    { hash: algorithm },
  );
}

/** @returns the header that such a sender signs a body with. */
export async function signHmac(bytes: Uint8Array, secret: string, options: HmacOptions): Promise<Headers> {
  const { header, algorithm, encoding = 'hex', prefix = '' } = options;
  const signature = await sign('', bytes, secret, algorithm);
  return new Headers({ [header]: prefix + (encoding === 'hex' ? toHex : toBase64)(signature) });
}
