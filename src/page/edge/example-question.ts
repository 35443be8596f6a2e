import { refreshSpentToday } from './account.ts';
import { getClient, modelsFault } from './client.ts';
import { currentModel } from './models.ts';

const EXAMPLE_TOKENS = 4_096;

/** Sends a short question without a conversation, so that there is an example to look at. It costs a fraction of a cent. */
export async function askExampleQuestion(): Promise<void> {
  if (!currentModel.value) {
    const none = 'This account cannot use any model. Ask an admin to allow one.';
    throw new Error(modelsFault.value ?? none);
  }
  const messages = [{ role: 'user', content: 'In one sentence: what is a sluice?' }];
  const body = { model: currentModel.value.id, max_tokens: EXAMPLE_TOKENS, messages };
  await (await getClient().fetch('/messages', { method: 'POST', body })).text();
  await refreshSpentToday();
}
