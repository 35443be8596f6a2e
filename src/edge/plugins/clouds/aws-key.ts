/** Authorizes requests to a service of Amazon: by an API key, or by a signature (SigV4) with an access key. */

import { AwsV4Signer } from 'aws4fetch';
import { type CallHeaders, InvalidKeyError, parseApiKey, type UpstreamCall } from '../../claude/providers/provider.ts';
import type { SendableBody } from '../../kit/http/body/json-body.ts';
import { encodeUtf8, sha256Hex, toHex } from '../../kit/http/bytes.ts';

/** The service and region for which a signature is valid. */
interface SigningScope {
  service: string;
  region: string;
}

const ACCESS_KEY = /^([A-Z0-9]{16,128}):([A-Za-z0-9/+=]{16,})(?::([A-Za-z0-9/+=]+))?$/;

/** The secret of an entry, read. */
export interface AwsCredential {
  /** Whether requests are signed, including their whole body. */
  signs: boolean;
  createAuthorizationHeaders(request: UpstreamCall): CallHeaders | Promise<CallHeaders>;
}

/**
 * Reads the secret of an entry: an API key, or `accessKeyId:secretAccessKey[:sessionToken]`.
 *
 * @throws KeyFault for anything else
 */
export function parseAwsCredential(secret: string, scope: SigningScope): AwsCredential {
  const [, accessKeyId, secretAccessKey, sessionToken] = ACCESS_KEY.exec(secret) ?? [];
  if (accessKeyId !== undefined && secretAccessKey !== undefined) {
    const keys = new Map<string, ArrayBuffer>();
    const credentials = { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) };
    return {
      signs: true,
      createAuthorizationHeaders: (request) => signAwsRequest(request, { ...scope, ...credentials }, keys),
    };
  }
  const must = 'must be an API key, or accessKeyId:secretAccessKey, or those two and :sessionToken';
  if (secret.includes(':')) throw new InvalidKeyError(must);
  const headers = { authorization: `Bearer ${parseApiKey(secret, must)}` };
  return { signs: false, createAuthorizationHeaders: () => headers };
}

/**
 * Signs a request with its body. Of the headers, only the host and the `x-amz-…` headers are signed. The services require no
 * more, and a caller's header in an unusual form cannot make the signature invalid.
 *
 * @param keys a cache of the keys that are derived from the credentials, by day
 */
async function signAwsRequest(
  { method, url, headers, body }: UpstreamCall,
  credentials: SigningScope & { accessKeyId: string; secretAccessKey: string; sessionToken?: string },
  keys: Map<string, ArrayBuffer>,
): Promise<CallHeaders> {
  // SigV4 derives a signing key for each day. Clear the cache when it also contains keys of past days.
  // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
  if (keys.size > 2) keys.clear();
  const own = Object.entries(headers).filter(([name]) => name.startsWith('x-amz-'));
  const signer = new AwsV4Signer({
    ...credentials,
    method,
    url,
    headers: [...own, ['x-amz-content-sha256', await hashBody(body)]],
    cache: keys,
    // Set the time explicitly, because otherwise the signer would use its own clock.
    datetime: new Date(Date.now()).toISOString().replace(/[:-]|\.\d{3}/g, ''),
  });
  const signed = await signer.sign();
  return Object.fromEntries(signed.headers);
}

/**
 * @returns the SHA-256 of a body. A streamed body is made a second time for this, so that it is never in memory as a whole.
 */
async function hashBody(body: SendableBody | undefined): Promise<string> {
  if (body === undefined) return await sha256Hex(new Uint8Array());
  if (typeof body === 'string') return await sha256Hex(encodeUtf8(body));
  if (body instanceof Uint8Array) return await sha256Hex(body);
  const bytes = typeof body === 'function' ? body() : body;
  if (typeof body !== 'function' || !(bytes instanceof ReadableStream)) {
    throw new TypeError('Only text, bytes and streams that can be recreated can be signed.');
  }
  const hash = new crypto.DigestStream('SHA-256');
  await bytes.pipeTo(hash);
  return toHex(new Uint8Array(await hash.digest));
}
