import { File } from 'node:buffer';
import { expect, test, vi } from 'vitest';
import { importFromFile } from '../../../../src/page/chat/session/history-file.ts';

const created = vi.hoisted(() => [] as unknown[]);

// The page's client needs a browser.
vi.mock('../../../../src/page/edge/client.ts', () => ({
  edge: () => ({
    conversations: { create: (fields: unknown) => Promise.resolve({ id: String(created.push(fields)) }) },
  }),
}));
vi.mock('../../../../src/page/edge/models.ts', () => ({ model: { value: undefined } }));
vi.mock('../../../../src/page/chat/session/conversations.ts', () => ({ tellChange: () => Promise.resolve() }));

test('a file comes back with the numbers that stand in it', async () => {
  const call = '{"type":"tool_use","id":"toolu_1","name":"pay","input":{"order":2512292042121000001,"amount":1.50}}';
  const messages = `[{"role":"user","content":"Pay."},{"role":"assistant","content":[${call}]}]`;
  await importFromFile(new File([messages], 'paid.json') as never);
  expect(JSON.stringify(created)).toBe(`[{"title":"paid","messages":${messages}}]`);
});
