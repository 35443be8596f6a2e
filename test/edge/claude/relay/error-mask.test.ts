import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { StreamErrorMasker } from '#edge/claude/relay/error-mask.ts';
import { registerSecrets } from '#edge/kit/http/secrets.ts';
import { tryCases } from '#test/support/property-cases.ts';
import { sseEvent as eventOf, PING } from '#test/support/wire.ts';

const KEY = 'sk-ant-nobody-may-see-this-key';
const WORD = 'placeholder';

beforeEach(() => registerSecrets('test', [KEY, WORD]));

const errorOf = (message: string) => eventOf('error', { error: { type: 'api_error', message } });
const START = 'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1"}}\n\n';
const DELTA = `event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"a ${WORD}: nö 🌍"}}\n\n`;
const UNNAMED = (message: string) => `data: ${JSON.stringify({ error: { message } })}\n\n`;

function passed(text: string, lengths: readonly number[]): { down: string; rest: string; latest: number } {
  const mask = new StreamErrorMasker();
  const bytes = Buffer.from(text);
  const down: Uint8Array[] = [];
  let latest = 0;
  for (let at = 0, n = 0; at < bytes.length; n += 1) {
    const piece = Uint8Array.from(bytes.subarray(at, at + (lengths[n % lengths.length] ?? 1)));
    down.push(mask.maskPiece(piece).slice());
    at += piece.length;
    latest = Math.max(latest, at - Buffer.concat(down).length);
    // Its buffer is used for the next one.
    piece.fill(0);
  }
  return { down: Buffer.concat(down).toString(), rest: Buffer.from(mask.takeUnsentBytes()).toString(), latest };
}

const event = fc.constantFrom(
  PING,
  ': a comment\n\n',
  '\n',
  START,
  DELTA,
  errorOf(`x-api-key: ${KEY}`),
  UNNAMED(KEY),
  errorOf(WORD),
);
const lineEnds = fc.constantFrom('\n', '\r\n', '\r');
const pieces = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 });

test('masks secrets in errors at any position and split, and changes no other byte', () => {
  tryCases(100, fc.array(event, { minLength: 1, maxLength: 8 }), lineEnds, pieces, (events, lineEnd, lengths) => {
    const written = events.join('').replaceAll('\n', lineEnd);
    const expected = events
      .map((one) => (one === DELTA ? one : one.replaceAll(KEY, '[secret]').replaceAll(WORD, '[secret]')))
      .join('')
      .replaceAll('\n', lineEnd);
    const { down, rest } = passed(written, lengths);
    expect(down + rest).toBe(expected);
  });
});

test('never delays a complete event', () => {
  expect(passed(DELTA.repeat(20), [Buffer.byteLength(DELTA)]).latest).toBe(0);
  expect(passed(DELTA.repeat(20), [7]).latest).toBeLessThan(Buffer.byteLength(DELTA));
});

test('hides the beginning of a key if an error is cut inside the key', () => {
  const text = PING + errorOf(`x-api-key: ${KEY}`);
  for (let length = 1; length <= text.length; length += 1) {
    const { down, rest } = passed(text.slice(0, length), [length % 50 || 1]);
    expect(down + rest).not.toContain(KEY.slice(0, 8));
  }
});

test.each([errorOf, UNNAMED])('an error that quotes a long body before the key does not show the key', (of) => {
  for (const length of [262_000, 262_100, 262_120, 262_144, 400_000]) {
    const { down, rest } = passed(of('b'.repeat(length) + KEY), [65_536]);
    expect(down + rest).not.toContain(KEY.slice(0, 8));
    expect((down + rest).endsWith('\n\n')).toBe(true);
  }
});

test('passes a block of a megabyte unchanged, and masks an error after it', () => {
  const block = `event: content_block_start\ndata: {"content_block":{"data":"${'a'.repeat(1_000_000)}"}}\n\n`;
  expect(passed(block + errorOf(KEY), [16_384])).toMatchObject({ down: block + errorOf('[secret]'), rest: '' });
});
