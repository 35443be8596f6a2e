import { createFieldError, validateBySchema } from '../kit/http/validate.ts';
import * as z from '../kit/http/zod.ts';
import { getMember, isObject } from '../kit/json/object.ts';

const contentError = createFieldError('Input should be a valid string or a list of blocks');

/** The roles of stored messages: those of the API. */
export const messageRole = z.enum(['user', 'assistant', 'system']);

/** A message of a request: only what this edge checks. */
export const messageParam = z
  .looseObject(
    {
      role: z.addDescription(
        z.string({ error: createFieldError('Input should be a valid string') }),
        'Who the message is from: `user`, `assistant`, or `system` for an instruction in the middle of the messages.',
      ),
      content: z.addDescription(
        z.optional(z.union([z.string(), z.array(z.unknown())], { error: contentError })),
        'A string, or a list of content blocks. Only a system message with `output_config` may omit it.',
      ),
    },
    { error: 'Input should be an object with role and content' },
  )
  .check(
    z.refine((message) => message.content !== undefined || isConfiguration(message), {
      path: ['content'],
      error: 'Field required',
    }),
  );

type Message = z.output<typeof messageParam>;

/** @returns whether a message needs no content, because it only configures the answers after it. */
function isConfiguration({ role, output_config }: Record<string, unknown>): boolean {
  return role === 'system' && isObject(output_config);
}

/** @returns whether a value surely passes as a message. */
function isCertainlyValidMessage(value: unknown): boolean {
  const content = getMember(value, 'content');
  return typeof getMember(value, 'role') === 'string' && (typeof content === 'string' || Array.isArray(content));
}

/** A fault of a message, and where in the message it is. */
export interface MessageFault {
  path: readonly PropertyKey[];
  message: string;
}

/** @returns the first fault of a message, by `messageParam` */
export function findMessageFault(input: unknown): MessageFault | undefined {
  return isCertainlyValidMessage(input) ? undefined : messageParam.safeParse(input).error?.issues[0];
}

/** Creates the schema of a list. Only the first fault is reported: a list may have millions of messages, each with a fault. */
export function createMessagesSchema(
  findFault: (input: unknown, index: number, list: readonly unknown[]) => MessageFault | undefined,
) {
  return z
    .array(z.custom<Message>(), { error: createFieldError('Input should be a valid list') })
    .check(({ value, issues }) => {
      for (const [index, input] of value.entries()) {
        const fault = findFault(input, index, value);
        if (!fault) continue;
        issues.push({ code: 'custom', input, message: fault.message, path: [index, ...fault.path] });
        return;
      }
    });
}

const messageParams = createMessagesSchema(findMessageFault);

const model = z
  .string({ error: createFieldError('Input should be a valid string') })
  .check(z.minLength(1, 'Input should be a non-empty string: the id of a model'));

const maxTokens = z
  .number({ error: createFieldError('Input should be a valid integer') })
  .check(
    z.refine(Number.isInteger, 'Input should be a valid integer'),
    z.gte(0, 'Input should be greater than or equal to 0'),
  );

const fields = {
  model,
  max_tokens: maxTokens,
  messages: messageParams,
  stream: z.optional(z.nullable(z.boolean({ error: 'Input should be a valid boolean' }))),
};

/** A request that continues a thread may have no new message. A tool runner sends such requests. */
const hasMessages = z.refine<{ messages: unknown[]; thread?: unknown }>(
  ({ messages, thread }) => messages.length > 0 || (isObject(thread) && thread.type === 'continue'),
  { path: ['messages'], error: 'at least one message is required' },
);

/** A Messages request: only what this edge checks. Everything else is left to the upstream. */
export const messagesRequest = z.looseObject(fields).check(hasMessages);

/**
 * Validates a Messages request as its schema does. The schema copies what it checks, which is about 6 % of the CPU of relaying a
 * short request. So it is only asked about a request that may be at fault.
 *
 * @throws ApiError 400 that names the first fault
 */
export function validateMessages(value: unknown): z.output<typeof messagesRequest> {
  return isCertainlyValidRequest(value) ? value : validateBySchema(messagesRequest, value);
}

/** @returns whether a value surely passes as a request. */
function isCertainlyValidRequest(value: unknown): value is z.output<typeof messagesRequest> {
  if (!isObject(value)) return false;
  const { model, max_tokens, messages, stream = null } = value;
  return (
    typeof model === 'string' &&
    model !== '' &&
    Number.isInteger(max_tokens) &&
    Number(max_tokens) >= 0 &&
    (stream === null || typeof stream === 'boolean') &&
    Array.isArray(messages) &&
    messages.length > 0 &&
    messages.every(isCertainlyValidMessage)
  );
}

/** The same for a request with a conversation or a prefix, which may supply the model and `max_tokens`. */
export const defaultedRequest = z
  .looseObject({ ...fields, model: z.optional(model), max_tokens: z.optional(maxTokens) })
  .check(hasMessages);

/** The members of a request to the count routes, which need no `max_tokens`. */
export const countFields = z.looseObject({ ...fields, max_tokens: z.optional(maxTokens) });

/** The same for the count routes. */
export const countRequest = countFields.check(hasMessages);
