import { createFieldError } from '../../kit/http/validate.ts';
import * as z from '../../kit/http/zod.ts';
import { memoizeFromPlugins } from '../../kit/plugins/plugins.ts';
import { toolKinds } from './tool-kind.ts';

const namesInRun = memoizeFromPlugins(() => new Set(toolKinds().flatMap((kind) => kind.listRunFieldNames())));
/** Rejects fields of `run` that are set on the tool itself: they would be sent, and the API would reject each request. */
export function rejectRunFieldsBesideRun({
  value,
  issues,
}: z.core.ParsePayload<{ run: unknown; [name: string]: unknown }>): void {
  const name = Object.keys(value).find((one) => namesInRun().has(one));
  if (name === undefined) return;
  const message = `it has no effect beside \`run\`. Put it into \`run\`${value.run === 'worker' ? `: {"worker": true, "${name}": …}` : ''}`;
  issues.push({ code: 'custom', input: value, message, path: [name] });
}

export const forwardedToolShape = {
  name: z.string().check(z.regex(/^[a-zA-Z0-9_-]{1,128}$/, 'must be 1 to 128 letters, digits, _ and -')),
  description: z.optional(z.string()),
};
const schemaOfObject = z.looseObject(
  { type: z.literal('object', { error: createFieldError("Input should be 'object'") }) },
  { error: createFieldError('Input should be a JSON schema: an object') },
);
export const withSchema = { input_schema: schemaOfObject };
export const mayHaveSchema = { input_schema: z.optional(schemaOfObject) };

/** A tool that its client calls. */
export const clientTool = z.looseObject({ ...forwardedToolShape, ...withSchema });

/** @returns the path at which a value does not match a schema, and the schema's message */
export function formatFirstIssue({
  error,
}: {
  error?: { issues: readonly { path: PropertyKey[]; message: string }[] } | undefined;
}) {
  const [issue] = error?.issues ?? [];
  return issue && `${issue.path.join('.')}: ${issue.message}`;
}
