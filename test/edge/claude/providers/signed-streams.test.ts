// In workerd: only there a stream is hashed without being in memory as one.
import 'cloudflare:workers';

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createConfiguredUpstreams } from '#edge/claude/providers/entry.ts';
import { parseSettings } from '#edge/config/settings.ts';
import type { SendableBody } from '#edge/kit/http/body/json-body.ts';
import { createPieceStream, sumPieceLengths } from '#edge/kit/http/body-pieces.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';

const [upstream] = createConfiguredUpstreams(
  parseSettings({
    UPSTREAMS: JSON.stringify([{ name: 'one', kind: 'bedrock', region: 'us-east-1' }]),
    UPSTREAM_ONE_KEY: 'AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
  }),
);

async function signed(body: SendableBody) {
  const by = { signal: new AbortController().signal, waitUntil: () => undefined };
  const call = { method: 'POST', path: '/v1/messages', headers: {}, body: () => body };
  return await upstream?.prepare(call, by);
}

test('signs a streamed body like its bytes, and recreates the stream for each reading', async () => {
  const pieces = fc.array(fc.uint8Array({ minLength: 1, maxLength: 50_000 }), { maxLength: 8 });
  await tryAsyncCases(caseCount(100), pieces, async (list) => {
    const bytes = new Uint8Array(await new Blob(list).arrayBuffer());
    expect(bytes.length).toBe(sumPieceLengths(list));
    let made = 0;
    const stream = await signed(() => {
      made += 1;
      return createPieceStream(list);
    });
    expect(made).toBe(1);
    const hash = stream?.headers['x-amz-content-sha256'];
    expect(hash).toBe(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex());
    expect((await signed(bytes))?.headers['x-amz-content-sha256']).toBe(hash);
    // What is sent is another stream, with all of it.
    const body = typeof stream?.body === 'function' ? stream.body() : undefined;
    expect(new Uint8Array(await new Response(body).arrayBuffer())).toEqual(bytes);
  });
});

test('signs a text like its bytes', async () => {
  const text = '{"model":"ü \u{1f30d}"}';
  const hash = (await signed(new TextEncoder().encode(text)))?.headers['x-amz-content-sha256'];
  expect((await signed(text))?.headers['x-amz-content-sha256']).toBe(hash);
});

test('rejects a stream that can be read only once', async () => {
  await expect(signed(createPieceStream([new Uint8Array(1)]))).rejects.toThrow('streams that can be recreated');
});
