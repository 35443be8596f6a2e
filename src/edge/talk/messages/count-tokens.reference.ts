import { countFields, messagesRequest } from '../../claude/messages.schema.ts';
import * as z from '../../kit/http/zod.ts';
import { jsonAnswer } from '../../kit/reference/answers.ts';
import { type Resource, words } from '../../kit/reference/resource.ts';
import { ofRooms } from '../../kit/rooms/rooms.ts';
import { isOpenTo, memberSchemas } from '../contracts/members.ts';
import { COUNT_ROUTES } from './count-tokens.route.ts';
import { countAnswer } from './count-tokens-answers.schema.ts';
import { messageList } from './messages.reference.ts';

const body = ofRooms(() =>
  z.withMeta(
    z.extend(countFields, {
      model: z.optional(messagesRequest.shape.model),
      messages: messageList,
      ...memberSchemas(isOpenTo('count')),
    }),
    { id: 'CountRequest' },
  ),
);

const route = {
  summary: 'Count a prompt before it is sent',
  body: {
    get schema() {
      return body();
    },
    example: { model: 'claude-haiku-5-5', messages: [{ role: 'user', content: 'How long is this prompt?' }] },
  },
  answer: jsonAnswer('The tokens, and what they mean for the model.', z.withMeta(countAnswer, { id: 'Count' }), {
    input_tokens: 13,
    context_window: 1_000_000,
    fits: true,
    cost_usd: { input: 1.3e-6, cache_write_5m: 1.625e-6, cache_write_1h: 2.6e-6, cache_read: 1.3e-7 },
  }),
  errors: [404, 429, 501, 503, 504, 529],
} as const;

export const counts: Resource = {
  tag: 'Counts',
  description: 'What a prompt comes to, in tokens and money. Counting is free.',
  routes: words(COUNT_ROUTES, {
    'POST /count-tokens': { ...route, operation: 'countTokens' },
    'POST /v1/messages/count_tokens': { ...route, operation: 'countMessageTokens' },
  }),
};
