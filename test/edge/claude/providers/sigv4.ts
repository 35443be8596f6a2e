/** Checks signatures of Amazon (SigV4) as the service does: from the request as it came, written after its documentation. */

import { createHash, createHmac } from 'node:crypto';

/** A request as it came over the wire. */
export interface SignedRequest {
  method: string;
  url: string;
  headers: Headers;
  body: Uint8Array;
}

/** What a signature says of itself. */
export interface SignatureParts {
  accessKeyId: string;
  /** Day, region, service. */
  scope: string;
  signedHeaders: string[];
  signature: string;
}

const sha256 = (data: Uint8Array | string) => createHash('sha256').update(data).digest('hex');
const hmac = (key: string | Buffer, text: string) => createHmac('sha256', key).update(text).digest();
const uriEncoded = (text: string) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);

/** Reads the header `authorization`. */
export function signatureParts(headers: Headers): SignatureParts {
  const found =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\S+)\/aws4_request, SignedHeaders=(\S+), Signature=([0-9a-f]{64})$/.exec(
      headers.get('authorization') ?? '',
    );
  if (!found) throw new Error(`no signature: ${headers.get('authorization')}`);
  const [, accessKeyId = '', scope = '', names = '', signature = ''] = found;
  return { accessKeyId, scope, signedHeaders: names.split(';'), signature };
}

/** Makes the signature that a request with this secret must have: all that it says of itself is taken as it is. */
export function expectedSignature({ method, url, headers, body }: SignedRequest, secretAccessKey: string): string {
  const { scope, signedHeaders } = signatureParts(headers);
  const { host, pathname, searchParams } = new URL(url);
  const path = pathname
    .split('/')
    .map((part) => uriEncoded(part))
    .join('/');
  const query = [...searchParams]
    .map(([name, value]) => `${uriEncoded(name)}=${uriEncoded(value)}`)
    .sort()
    .join('&');
  const headerValue = (name: string) =>
    name === 'host' ? host : (headers.get(name) ?? '').trim().replace(/\s+/g, ' ');
  const canonical = [
    method,
    path,
    query,
    ...signedHeaders.map((name) => `${name}:${headerValue(name)}`),
    '',
    signedHeaders.join(';'),
    sha256(body),
  ].join('\n');
  const text = ['AWS4-HMAC-SHA256', headers.get('x-amz-date'), `${scope}/aws4_request`, sha256(canonical)].join('\n');
  const [day = '', region = '', service = ''] = scope.split('/');
  const key = hmac(hmac(hmac(hmac(`AWS4${secretAccessKey}`, day), region), service), 'aws4_request');
  return createHmac('sha256', key).update(text).digest('hex');
}
