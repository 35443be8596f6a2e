import { expect, test } from 'vitest';
import { takeBuffer } from '#edge/claude/relay/tee-reader.ts';
import { stubOf } from '#test/support/conversations.ts';
import { countLargeBuffers } from '#test/support/large-buffers.ts';
import { answering, begun, keepTime, ledger, until } from '#test/support/timed-turns.ts';
import { PING, start, TEXT_BEGINS, textDelta } from '#test/support/wire.ts';

keepTime();

test.each([
  ['before its first delta', [start(), PING], 'ping'],
  ['in its answer', [start(), TEXT_BEGINS + textDelta('One. '), textDelta('Two. ')], 'Two'],
])('an open turn holds no large buffer %s', async (_, pieces, last) => {
  answering(() => pieces.map((text) => ({ text })));
  const large = countLargeBuffers();
  const reader = (await begun('c1')).getReader();
  await until(reader, last);
  // The one for its first piece can be used again.
  takeBuffer();
  expect(large()).toBe(1);
  await stubOf('c1').stop();
  await reader.cancel();
  await ledger();
});
