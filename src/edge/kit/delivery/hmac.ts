/** Verifies signatures of senders that sign only the body, each with its own header and encoding. */
import { createSignatureScheme, decodeSignatures, type HashAlgorithmName, type SignatureScheme } from './signature.ts';

export interface HmacOptions {
  /** The header that the signature comes in. */
  header: string;
  /** Default `SHA-256`. */
  algorithm?: HashAlgorithmName;
  /** Default `hex`. */
  encoding?: 'hex' | 'base64';
  /** The text before the signature in the header, such as `sha256=`. */
  prefix?: string;
}

/**
 * Makes a scheme that verifies an HMAC of the raw body. It covers neither an id nor a time, so two requests with the same
 * body are one event, even if their ids differ.
 *
 * @example
 * const verify = hmac({ header: 'x-shop-signature', prefix: 'sha256=' });
 * show(defineWebhook({ source: 'shop', verify, text: ({ body }) => String(body.note), labels: ['praise', 'other'] }));
 */
export function hmac({ header, algorithm = 'SHA-256', encoding = 'hex', prefix = '' }: HmacOptions): SignatureScheme {
  return createSignatureScheme(
    (headers) => {
      const value = headers.get(header);
      if (!value?.startsWith(prefix)) return undefined;
      return { signatures: decodeSignatures([value.slice(prefix.length)], encoding, algorithm), signedPrefix: '' };
    },
    { hash: algorithm, form: `${header}: ${prefix}…, with an ${algorithm} HMAC of the body in ${encoding}` },
  );
}
