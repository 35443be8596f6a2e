import { expect, test } from 'vitest';
import { createTestApp } from '#test/support/app.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';

const plain = { model: SMALL_MESSAGE.model, max_tokens: 100, messages: [{ role: 'user', content: 'Hello' }] };
const PATHS = ['/v1/messages', '/v1/messages/count_tokens'];

test.each(PATHS)('%s: fields for plugins, such as `background`, are validated and not forwarded', async (path) => {
  const app = createTestApp(() => Response.json(path.endsWith('tokens') ? { input_tokens: 9 } : SMALL_MESSAGE));
  const { status } = await app.post(path, { ...plain, background: false, retry: false, agent: null, max_turns: 3 });
  expect(status).toBe(200);
  const [{ text } = { text: '{}' }] = app.sent;
  expect(Object.keys(JSON.parse(text)).toSorted()).toEqual(['max_tokens', 'max_turns', 'messages', 'model']);
  for (const wrong of [{ deliver_url: 5 }, { background: 'yes' }]) {
    const refused = await app.post(path, { ...plain, ...wrong });
    expect(refused.status, JSON.stringify(wrong)).toBe(400);
    expect(await refused.text()).toContain(Object.keys(wrong)[0]);
  }
  expect(app.sent).toHaveLength(1);
});
