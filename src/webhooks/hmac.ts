/** Senders that sign the body alone, each with a header and an encoding of its own. */
import { fromBase64, fromHex, type HashName, isSigned, sign, toBase64, toHex, type Verify } from './signature.ts';

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
 * @returns what verifies an HMAC of the raw body. Such a scheme has no time in it: only the event's id keeps a request
 * from being taken twice.
 */
export function hmac({ header, algorithm = 'SHA-256', encoding = 'hex', prefix = '' }: HmacOptions): Verify {
  return async ({ headers, bytes }, secrets) => {
    const value = headers.get(header);
    if (!value?.startsWith(prefix)) return 'missing';
    const signature = (encoding === 'hex' ? fromHex : fromBase64)(value.slice(prefix.length));
    if (!signature) return 'missing';
    return (await isSigned([bytes], [signature], secrets, algorithm)) ? 'valid' : 'forged';
  };
}

/** @returns the header that such a sender signs a body with. */
export async function signHmac(bytes: Uint8Array, secret: string, options: HmacOptions): Promise<Headers> {
  const { header, algorithm, encoding = 'hex', prefix = '' } = options;
  const signature = await sign([bytes], secret, algorithm);
  return new Headers({ [header]: prefix + (encoding === 'hex' ? toHex : toBase64)(signature) });
}
