import { expect, test } from 'vitest';
import { reactive, ref } from 'vue';
import { renewingToken } from '#client/index.ts';
import { answerOf, bytesOf, fakeEdge, framesOf, PRICE, request, streamed } from './fake-edge.ts';

/** An object of each class that the client returns. */
function createEach() {
  const { client } = fakeEdge(() => streamed(bytesOf(framesOf('turn_a', answerOf('Long and wide.')).join('') + PRICE)));
  return {
    stream: client.messages.stream({ ...request, conversation: 'c1' }),
    run: client.messages.run({ ...request, tools: [] }),
    token: renewingToken({ baseURL: 'https://edge.test', token: () => 'token' }),
  };
}

test('streams, runs and tokens work in the state of Vue', async () => {
  const state = reactive(createEach());
  expect(await ref(state.stream).value.text()).toBe('Long and wide.');
  expect(await state.run.text()).toBe('Long and wide.');
  for (const one of [state.stream, state.run]) {
    for await (const event of one) expect(event.type).toBeDefined();
    await one.stop();
    one.close();
  }
  expect(await state.token.get()).toBe('token');
});

test('a clone of a stream, a run or a token is rejected with a sentence', () => {
  for (const one of Object.values(createEach())) expect(() => structuredClone(one)).toThrow(/ cannot be cloned /);
});
