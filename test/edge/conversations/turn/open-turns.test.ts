import { expect, test } from 'vitest';
import { takePooledBuffer } from '#edge/claude/relay/tee-reader.ts';
import { stubOf } from '#test/support/conversations.ts';
import { countLargeBuffers } from '#test/support/large-buffers.ts';
import {
  answerWithPieces,
  installTestTime,
  readLedger,
  readUntilText,
  startTurnStream,
} from '#test/support/timed-turns.ts';
import { messageStart, PING, TEXT_BLOCK_START, textDelta } from '#test/support/wire.ts';

installTestTime();

test.each([
  ['before its first delta', [messageStart(), PING], 'ping'],
  ['in its answer', [messageStart(), TEXT_BLOCK_START + textDelta('One. '), textDelta('Two. ')], 'Two'],
])('an open turn holds no large buffer %s', async (_, pieces, last) => {
  answerWithPieces(() => pieces.map((text) => ({ text })));
  const large = countLargeBuffers();
  const reader = (await startTurnStream('c1')).getReader();
  await readUntilText(reader, last);
  // The one for its first piece can be used again.
  takePooledBuffer();
  expect(large()).toBe(1);
  await stubOf('c1').stopRunningTurn();
  await reader.cancel();
  await readLedger();
});
