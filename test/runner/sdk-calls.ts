import type { Plugin } from 'vite';
import type { CallForm, SdkCall } from '#test/support/sdk/calls.ts';
import { completeBody, SAMPLES } from '#test/support/sdk/requests.ts';
import { type Method, membersOf, SdkTypes, type Shape } from '#test/support/sdk/types.ts';
import { ValueGenerator } from '#test/support/sdk/values.ts';

/** Methods of the SDK's own, whose arguments are those of `create` and more. */
const HELPERS = /^(?:parse|stream|toolRunner)$/;

const values = new ValueGenerator(SAMPLES);

/** @returns the object that a parameter takes, if it takes one */
function objectIn(shape: Shape): Shape | undefined {
  return shape.kind === 'union' ? shape.variants.find(({ kind }) => kind === 'object') : shape;
}

function formsOf({ parameters }: Method): CallForm[] {
  const shapes = parameters.map(({ shape }) => objectIn(shape) ?? shape);
  const ready = (value: unknown) => (Object.hasOwn(Object(value), 'messages') ? completeBody(value) : value);
  const least = shapes.map((shape) => values.createLeast(shape));
  const last = shapes.at(-1);
  const more = last?.kind === 'object' ? membersOf(last).filter(({ optional }) => optional) : [];
  const forms = more.map(({ name, shape }) => {
    const value = { ...(least.at(-1) as object), [name]: values.createLeast(shape, name) };
    return { addedMember: name, args: [...least.slice(0, -1), value] };
  });
  return [{ addedMember: '', args: least }, ...forms].map(({ addedMember, args }) => ({
    addedMember,
    args: args.map(ready),
  }));
}

function sdkCalls(): SdkCall[] {
  return [...new SdkTypes().listResources()].flatMap(([resource, methods]) =>
    methods.map((method) => {
      const create = HELPERS.test(method.name) ? methods.find(({ name }) => name === 'create') : undefined;
      const taken = (create ?? method).parameters.filter(({ name }) => name !== 'options');
      const forms = formsOf({ ...method, parameters: taken });
      return { resource, method: method.name, names: taken.map(({ name }) => name), forms };
    }),
  );
}

/** Makes a plugin that writes the calls of the SDK into the file that is for them, when a test imports it. */
export function writesSdkCalls(): Plugin {
  return {
    name: 'writes-sdk-calls',
    load: {
      filter: { id: /\/test\/support\/sdk\/calls\.ts$/ },
      handler: () => `export const SDK_CALLS = ${JSON.stringify(sdkCalls())};`,
    },
  };
}
