import type { RequestFieldDefinitions } from '../../claude/request/field-definition.ts';
import { secretNameShape } from '../../config/tool-secrets.ts';
import * as z from '../../kit/http/zod.ts';
import { runLimits } from '../../registry/tools/run-limits.schema.ts';
import { forwardedToolShape, rejectRunFieldsBesideRun, withSchema } from '../../registry/tools/tools.schema.ts';

/** Headers that the edge sets itself, or that belong to the connection. */
const RESERVED =
  /^(webhook-.*|host|content-(length|type|encoding)|connection|transfer-encoding|te|trailer|expect|upgrade|keep-alive|proxy-.*|cf-.*|user-agent)$/;

const headerValue = z.union(
  [
    z.string().check(z.maxLength(4_096), z.regex(/^[\x20-\x7e]*$/, 'must be printable ASCII')),
    z.strictObject(secretNameShape),
  ],
  { error: 'must be a text, or {"secret": "NAME"} for the setting TOOL_SECRET_NAME' },
);

export const approval = z.createOptionalField(
  z.union(
    [
      z.literal('always'),
      z.strictObject({
        over: z.addDescription(
          z.strictObject({
            field: z.addDescription(
              z.string().check(z.minLength(1), z.maxLength(256)),
              'The top-level field of the tool’s input that contains the number, such as `amount`.',
            ),
            above: z.addDescription(
              z.number(),
              'Calls need approval if the field is greater than this number, or is not a number.',
            ),
          }),
          'Requires approval only for calls with a large number in their input, such as a refund above $100.',
        ),
      }),
    ],
    { error: 'must be "always", or {"over": {"field": "amount", "above": 100}}' },
  ),
  'Which calls a person must approve: `always`, or those whose `field` (a number in the input) is above a limit or is not a number.',
);

/** Members that all tools called over HTTP may have. */
export const overHttp = {
  headers: z.createOptionalField(
    z.catchall(z.object({}), headerValue).check(
      z.refine((headers) => Object.keys(headers).length <= 20, 'must be at most 20 headers'),
      z.refine(
        (headers) =>
          Object.keys(headers).every((name) => /^[a-z0-9-]{1,64}$/i.test(name) && !RESERVED.test(name.toLowerCase())),
        'must be names of headers that the edge does not set itself',
      ),
    ),
    'Additional headers of the call. `{"secret": "NAME"}` is replaced by the value of the setting `TOOL_SECRET_NAME`.',
  ),
  timeout_seconds: z.createOptionalField(
    z.int().check(z.gte(1), z.lte(600)),
    'How long a call may take, in seconds. Default: 30.',
  ),
  once: z.createOptionalField(
    z.boolean(),
    'Whether the call is never repeated, even if it is unknown after a crash whether the call was made.',
  ),
  approval,
};
export const address = z.string().check(z.maxLength(2_048));

/** How the edge calls a tool. */
export const runSchema = z.strictObject({
  url: z.addDescription(address, 'The URL to which Sluice posts the call. Its host must be in `TOOL_HOSTS`.'),
  ...overHttp,
});
export type HttpToolRun = z.output<typeof runSchema>;

/** How the edge calls a tool that the Worker's own code defines. Missing members have the values of that code. */
export const workerRunSchema = z.strictObject({
  worker: z.addDescription(z.literal(true), 'Calls the tool of this `name` that the Worker’s own code defines.'),
  timeout_seconds: overHttp.timeout_seconds,
  once: overHttp.once,
  approval,
});

/** A tool that the edge calls over HTTP. */
export const runTool = z
  .looseObject({ ...forwardedToolShape, ...withSchema, run: runSchema })
  .check(rejectRunFieldsBesideRun);
/** A tool that the Worker's own code defines, with its own options or with others. */
export const ownTool = z
  .looseObject({ ...forwardedToolShape, run: z.literal('worker') })
  .check(rejectRunFieldsBesideRun);
export const workerToolEntry = z
  .looseObject({ ...forwardedToolShape, run: workerRunSchema })
  .check(rejectRunFieldsBesideRun);
const limit = { open: ['bound'], isLimit: true } as const;
/** The request parameters of a run. */
export const RUN_MEMBERS: RequestFieldDefinitions = {
  ...Object.fromEntries(Object.entries(runLimits.shape).map(([name, schema]) => [name, { ...limit, schema }])),
  on_pending_tools: {
    schema: z.createOptionalField(
      z.enum(['refuse', 'cancel'], { error: 'Input should be refuse or cancel' }),
      'What to do if calls of your own tools have no result yet. `cancel` gives them an error result, so that you can continue with a plain message. `refuse`, the default, rejects the message with a 400.',
    ),
    open: ['bound', 'agent'],
    goesUp: true,
  },
};
