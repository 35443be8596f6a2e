import fc from 'fast-check';
import { expect, test } from 'vitest';
import { eventsAsShown, LogText } from '../../../../src/edge/talk/storage/log-text.ts';
import { tryCases } from '../../../support/runs.ts';

const HEADS = [
  '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"',
  '{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"',
] as const;
const said = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.constantFrom('"}}', '\u0001\u0002\u0003', '\n', '\\'),
);
const entry = fc.oneof(
  fc.record({ head: fc.constantFrom(...HEADS), said, pad: fc.constantFrom('', '', '  ') }),
  fc.record({
    event: fc.constantFrom('ping', 'message_stop', 'content_block_delta'),
    said,
    remark: fc.constantFrom('', ': hi\n\n'),
  }),
);

test('a shortened log is shown as it was, whatever was said', () => {
  let shorter = 0;
  tryCases(100, fc.array(entry), fc.nat(), fc.nat(400), (entries, before, most) => {
    const log = new LogText();
    const whole: string[] = [];
    for (const [at, each] of entries.entries()) {
      let text: string;
      if ('head' in each) {
        const data = `${each.head}${JSON.stringify(each.said).slice(1)}}${each.pad}}`;
        text = `event: content_block_delta\ndata: ${data}\n\n`;
        log.addDeltas({ text, head: each.head, strings: [JSON.stringify(each.said).slice(1, -1)] });
      } else {
        text = `event: ${each.event}\ndata: ${JSON.stringify({ said: each.said })}\n\n${each.remark}`;
        log.add(text);
      }
      whole.push(`id: turn_x-${before + at + 1}\n${text}`);
    }
    const all = whole.join('');
    expect(log.text).toBeDefined();
    expect(eventsAsShown(log.text ?? '', 'turn_x', before + 1).text).toBe(all);
    // Who goes on in the middle of it gets the rest, a piece at a time.
    const seen = most % (whole.length + 1);
    const pieces: string[] = [];
    for (let from: number | undefined = before + seen + 1; from !== undefined; ) {
      const { text, next } = eventsAsShown(log.text ?? '', 'turn_x', before + 1, from, most);
      pieces.push(text);
      from = next;
    }
    expect(pieces.join('')).toBe(whole.slice(seen).join(''));
    expect(pieces.length).toBeGreaterThanOrEqual(
      Math.floor(pieces.join('').length / (most + Math.max(1, ...whole.map(({ length }) => length)))),
    );
    if ((log.text ?? '').length * 2 < all.length) shorter += 1;
    // An older log has been stored as it was shown.
    expect(eventsAsShown(all, 'turn_x', before + 1).text).toBe(all);
  });
  expect(shorter).toBeGreaterThan(0);
});

test('what has the characters in it that tell entries apart is not shortened', () => {
  const log = new LogText();
  log.add('event: a\u0002\ndata: {}\n\n');
  expect(log.text).toBeUndefined();
});
