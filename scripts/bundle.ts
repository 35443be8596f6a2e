/**
 * Bundles the Worker as it is deployed. What wrangler bundles by itself, as `npm start` has it do, does the same and is a
 * tenth larger.
 */
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Plugin, rolldown } from 'rolldown';
import { type ESTree, parseSync, Visitor } from 'rolldown/utils';
import { lazySchemas } from './lazy-schemas.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
/** How SQL begins. */
const SQL = String.raw`\s*(select|insert|update|delete|create|alter|with|from|where|and|on) `;

/** What stands around a schema, in place of the call that describes it. */
const UNDESCRIBED = new Map([
  ['z.described', { before: '', after: '' }],
  ['z.optionally', { before: 'z.optional(', after: ')' }],
]);

/** What is uploaded. */
export interface Bundle {
  /** Of its only module. */
  code: string;
  /** Its source map, in JSON. */
  map: string;
  /** The source files of which something is in it, by their paths in this checkout. */
  files: string[];
}

/**
 * Bundles a Worker with all that it imports.
 *
 * @param define code that stands in place of names, as `[define]` in wrangler.toml
 * @param entry the file of the Worker; absent for the product's own
 * @param plugins what changes the source before
 * @throws Error that says what cannot be read or found
 */
export async function bundleWorker(
  define: Record<string, string>,
  entry = 'src/edge/index.ts',
  plugins: readonly Plugin[] = [],
): Promise<Bundle> {
  const bundle = await rolldown({
    cwd: root,
    input: entry,
    external: /^(cloudflare|node):/,
    platform: 'neutral',
    // As wrangler resolves packages.
    resolve: { conditionNames: ['workerd', 'worker', 'browser'], mainFields: ['browser', 'module', 'main'] },
    transform: { define: { ...define, 'navigator.userAgent': '"Cloudflare-Workers"' } },
    plugins: [...plugins, lazySchemas(), leaveOut(), leaveOutUnused(), leaveOutWords()],
    experimental: { nativeMagicString: true },
    checks: { pluginTimings: false },
    treeshake: { unknownGlobalSideEffects: false, propertyReadSideEffects: false },
    optimization: { inlineConst: { mode: 'all', pass: 3 } },
  });
  const { output } = await bundle.generate({
    entryFileNames: 'index.js',
    codeSplitting: false,
    minify: true,
    comments: false,
    // One character that is not Latin-1 would have the runtime keep all of the code in two bytes a character.
    charset: 'ascii',
    sourcemap: true,
  });
  await bundle.close();
  const [{ code, map, modules }] = output;
  const contained = Object.entries(modules).filter(([, { renderedLength }]) => renderedLength > 0);
  return { code, map: String(map), files: contained.map(([file]) => relative(root, file)) };
}

/** Makes a plugin that leaves out what only readers need: descriptions of schemas, and line breaks in SQL. */
function leaveOut(): Plugin {
  return {
    name: 'leave-out',
    transform: {
      // To parse a file in JavaScript takes longer than all else that is done to it: most have nothing of this.
      filter: { id: /\/src\/.*\.ts$/, code: new RegExp(`z\\.(described|optionally)|\`${SQL}`) },
      handler: (code, id, { magicString }) => {
        if (!magicString) throw new Error('There is no magicString: rolldown has another name for it now.');
        const calls: ESTree.CallExpression[] = [];
        const templates: ESTree.TemplateLiteral[] = [];
        const visitor = { CallExpression: calls.push.bind(calls), TemplateLiteral: templates.push.bind(templates) };
        new Visitor(visitor).visit(parseSync(id, code).program);
        for (const {
          callee,
          start,
          end,
          arguments: [schema],
        } of calls) {
          const without = UNDESCRIBED.get(code.slice(callee.start, callee.end));
          if (!without || !schema) continue;
          magicString.update(start, schema.start, without.before).update(schema.end, end, without.after);
        }
        for (const { start, value } of templates.filter(isSql).flatMap(({ quasis }) => quasis)) {
          const at = code.indexOf(value.raw, start);
          const shorter = value.raw.replace(/\s*\n\s*/g, ' ');
          if (shorter !== value.raw) magicString.overwrite(at, at + value.raw.length, shorter);
        }
        return { code: magicString };
      },
    },
  };
}

/**
 * Parts of packages that nothing here calls, where a bundler cannot see it: by the file's path, what is left out of it, each time
 * with `g`, and what stands there instead. What a part would have refused is still refused: a promise in a schema throws.
 */
const UNUSED: readonly (readonly [file: RegExp, part: RegExp, instead?: string])[] = [
  // What zod calls formats of strings: no schema has one but a pattern. Schemas are asked by `safeParse` alone.
  [/\/zod\/v4\/locales\/en\.js$/, /(?<=const FormatDictionary = \{)[^{}]+/],
  [/\/zod\/v4\/locales\/en\.js$/, /\n +(?:file|set|map): \{.*/g],
  [/\/zod\/v4\/locales\/en\.js$/, /if \(_issue\.format === "starts_with"\)[\s\S]*?includes}"`;/],
  [/\/zod\/v4\/locales\/en\.js$/, /case "(?:not_multiple_of|invalid_key|invalid_element)":\n.*/g],
  [/\/zod\/v4\/locales\/en\.js$/, /case "invalid_union":\n[\s\S]*?return "Invalid input";/],
  [/\/zod\/v4\/mini\/schemas\.js$/, /\n {4}parse\(.*\n.*\n {4}\},/],
  [/\/zod\/v4\/mini\/schemas\.js$/, /\n {4}parseAsync\(.*\n.*\n {4}\},/],
  [/\/zod\/v4\/mini\/schemas\.js$/, /\n {4}safeParseAsync\(.*\n.*\n {4}\},/],
  [/\/zod\/v4\/mini\/schemas\.js$/, /get with\(\) \{[\s\S]*?\n {4}\},\n {4}set with[\s\S]*?\n {4}\},/],
  [/\/zod\/v4\/mini\/schemas\.js$/, /brand\(\) \{[\s\S]*?\n {4}\},\n[\s\S]*?\n {4}\},\n[\s\S]*?\n {4}\},/],
  [/\/zod\/v4\/mini\/schemas\.js$/, /def\.type !== "tuple"/, 'true'],
  [/\/zod\/v4\/core\/util\.js$/, /\n +int32: [\s\S]*?(?=\n\}\))/],
  // Names and instances of its classes, and options of parsing: nobody has one.
  [/\/zod\/v4\/core\/core\.js$/, /\n {4}Object\.defineProperty\((?:Definition|_), "name".*/g],
  [/\/zod\/v4\/core\/core\.js$/, /\n {4}Object\.defineProperty\(_, Symbol\.hasInstance[\s\S]*?\n {4}\}\);/],
  [/\/zod\/v4\/core\/util\.js$/, /if \(o instanceof (?:Map|Set)\)\n.*/g],
  [
    /\/zod\/v4\/core\/schemas\.js$/,
    /(?:ctx\?\.)?abortEarly === true|ctx\?\.abortEarly\b(?! =)|\babortEarly(?= && )|payload\.memo(?=\))/g,
    'false',
  ],
  [/\/zod\/v4\/core\/schemas\.js$/, /\n {4}inst\._zod\.version = version;/],
  // Its errors are read by their issues alone.
  [/\/zod\/v4\/core\/errors\.js$/, /Object\.defineProperty\(inst, "message", _messageDesc\);[\s\S]*?\n {4}\}(?=\n\};)/],
  // Promises in schemas, which throw where they arise, encoding, and forms for templates and discriminators.
  [
    /\/zod\/v4\/core\/schemas\.js$/,
    /(?<!\w)(?:(?:result|canary|checkResult|left|right) instanceof Promise|r instanceof Promise(?=\) \{\s+proms)|asyncResult \|\| _ instanceof Promise|asyncResult(?=\) \{)|proms\.length|ctx\.direction === "backward"|ctx\.skipChecks|ctx\?\.skipChecks|ctx\.async(?=\) \{)|async(?=\)\n))/g,
    'false',
  ],
  [/\/zod\/v4\/core\/schemas\.js$/, /ctx\?\.direction !== "backward"/g, 'true'],
  [/\/zod\/v4\/core\/schemas\.js$/, /core\.globalConfig\.memoizer/g, 'undefined'],
  [
    /\/zod\/v4\/core\/schemas\.js$/,
    /\n {4}util\.defineLazyInternal\(inst, "(?:pattern|values|propValues)", (?:.*\);(?=\n)|[\s\S]*?\n {4}\}\);)/g,
  ],
  [/\/zod\/v4\/core\/schemas\.js$/, /\n {4}inst\._zod\.pattern = .*/g],
  [/\/zod\/v4\/core\/schemas\.js$/, /if \(def\.coerce\)\s+try \{\s+\S+ = (?:String|Boolean)[\s\S]*?catch \(_\) \{ \}/g],
  [/\/zod\/v4\/core\/schemas\.js$/, /get "~standard"\(\) \{[\s\S]*?\n {4}\},\n {4}set[\s\S]*?\n {4}\},/],
  // Hono's apps within apps, tests, service workers, forms, bodies and pages.
  [/\/hono\/dist\/hono-base\.js$/, /\n\tmount\([\s\S]*?\n\t\}/],
  [/\/hono\/dist\/hono-base\.js$/, /\n\trequest = [\s\S]*?\n\t\};/],
  [/\/hono\/dist\/hono-base\.js$/, /\n\tfire = [\s\S]*?\n\t\};/],
  [/\/hono\/dist\/request\.js$/, /\n\tasync parseBody\([\s\S]*?\n\t\}/],
  [/\/hono\/dist\/request\.js$/, /\n\t#cachedBody = [\s\S]*?\n\t\};/],
  [
    /\/hono\/dist\/request\.js$/,
    /\n\t(?:json|text|arrayBuffer|bytes|blob|formData|addValidatedData|valid|get matchedRoutes|get routePath)\(.*[\s\S]*?\n\t\}/g,
  ],
  [/\/hono\/dist\/context\.js$/, /\n\trender = [\s\S]*?\n\tsetRenderer = [\s\S]*?\n\t\};/],
  [/\/hono\/dist\/context\.js$/, /\n\thtml = [\s\S]*?\n\t\};/],
  [/\/hono\/dist\/context\.js$/, /\n\tget event\(\) [\s\S]*?\n\t\}/],
  [/\/hono\/dist\/context\.js$/, /\n\tredirect = [\s\S]*?\n\t\};/],
  // Times in words, tolerance of clocks, ages of tokens.
  [/\/jose\/dist\/webapi\/lib\/jwt_claims_set\.js$/, /typeof value == "number" \? (?=validateInput)/],
  [/\/jose\/dist\/webapi\/lib\/jwt_claims_set\.js$/, / : value instanceof Date .* secs\(value\)/],
  [/\/jose\/dist\/webapi\/lib\/jwt_claims_set\.js$/, /value === void 0 \? .* \+ secs\(value\)\) : /],
  [
    /\/jose\/dist\/webapi\/lib\/jwt_claims_set\.js$/,
    /const \{ clockTolerance \}[\s\S]*?option input"\);/,
    'const tolerance = 0;',
  ],
  [/\/jose\/dist\/webapi\/lib\/jwt_claims_set\.js$/, /maxTokenAge !== void 0/g, 'false'],
  [/\/jose\/dist\/webapi\/lib\/jwt_claims_set\.js$/, /\n {2}setNotBefore\([\s\S]*?\n {2}\}/],
  // A key is a `CryptoKey`, or the bytes of a secret: any other is refused.
  [/\/jose\/dist\/webapi\/lib\/key\.js$/, /if \(isObject\(key\)\) \{[\s\S]*?\} else \{/, '{'],
  [/\/jose\/dist\/webapi\/lib\/key\.js$/, / \|\| isKeyObject\(key\)/],
  [/\/jose\/dist\/webapi\/lib\/key\.js$/, /if \(isCryptoKey\(key\)\)\n(?= +return key)/],
  [/\/jose\/dist\/webapi\/lib\/key\.js$/, /if \(keyObject = key[\s\S]*?jwkToKey\(entry, normalized\);/, '}'],
  [
    /\/jose\/dist\/webapi\/lib\/key\.js$/,
    /const types = \["CryptoKey"[\s\S]*?\.\.\.types\)\)/,
    'return new TypeError()',
  ],
  // Algorithms that no token may have. Errors are known by their classes, and by the claim.
  [/\/jose\/dist\/webapi\/lib\/jws_algorithms\.js$/, /\n {2}(?:HS384|HS512|Ed25519|"ML-DSA-\d+"): .*/g],
  [/\/jose\/dist\/webapi\/util\/errors\.js$/, /\n {2}(?:(?:static )?code = .*|reason;|payload;)/g],
  [/\/jose\/dist\/webapi\/util\/errors\.js$/, /\n {2}constructor\(message = .*\n.*\n {2}\}/g],
  [/\/jose\/dist\/webapi\/util\/errors\.js$/, /, \{ cause: \{ claim, reason, payload \} \}|, this\.reason = .*(?=;)/g],
  [/\/jose\/dist\/webapi\/util\/errors\.js$/, /\n {2}\[Symbol\.asyncIterator\] = .*\n {2}\};/],
  [/\/jose\/dist\/webapi\/jwks\/local\.js$/, /const error = (?=new JWKSMultiple)/, 'throw '],
  [/\/jose\/dist\/webapi\/jwks\/local\.js$/, /throw error\[Symbol\.asyncIterator\][\s\S]*?, error;/],
  [
    /\/jose\/dist\/webapi\/util\/decode_protected_header\.js$/,
    / else if \(typeof token == "object"[\s\S]*?Protected Header"\);/,
  ],
  // Keys of a provider are read with what is usual, and nobody asks how fresh they are.
  [/\/jose\/dist\/webapi\/jwks\/remote\.js$/, /typeof timeoutOption == "number"/g, 'false'],
  [
    /\/jose\/dist\/webapi\/jwks\/remote\.js$/,
    /validateDuration\(opts\.cooldownDuration, (?=3e4)|validateDuration\(opts\.cacheMaxAge, (?=6e5)/g,
  ],
  [/\/jose\/dist\/webapi\/jwks\/remote\.js$/, /, "(?:cooldownDuration|cacheMaxAge)"\)/g],
  [/\/jose\/dist\/webapi\/jwks\/remote\.js$/, /if \(cache && [\s\S]*?\n {2}\}/],
  [/\/jose\/dist\/webapi\/jwks\/remote\.js$/, /cache && \(.*?\), /],
  [/\/jose\/dist\/webapi\/jwks\/remote\.js$/, /Object\.defineProperties(?=\()/],
  [/\/jose\/dist\/webapi\/jwks\/remote\.js$/, /, \{\s+coolingDown[\s\S]*?\n {2}\}(?=\);)/],
  [/\/jose\/dist\/webapi\/jwks\/local\.js$/, /Object\.defineProperty(?=\()/],
  [/\/jose\/dist\/webapi\/jwks\/local\.js$/, /, "jwks", \{[\s\S]*?\n {2}\}(?=\);)/],
  // The service and the region of a signature are given, and the hash of the body. It stands in a header, and is not of S3.
  [/\/aws4fetch\/dist\/aws4fetch\.esm\.mjs$/, /\n\[guessedService, .*;/],
  [
    /\/aws4fetch\/dist\/aws4fetch\.esm\.mjs$/,
    /this\.(?:service === 's3'|signQuery|appendSessionToken)(?! =)/g,
    'false',
  ],
  [/\/aws4fetch\/dist\/aws4fetch\.esm\.mjs$/, /this\.(?:signQuery|appendSessionToken) = .*/g],
  [/\/aws4fetch\/dist\/aws4fetch\.esm\.mjs$/, /if \(hashHeader == null\) [\s\S]*?\n {4}\}/],
];

/** Makes a plugin that leaves out what packages have and nothing calls. */
function leaveOutUnused(): Plugin {
  return {
    name: 'leave-out-unused',
    transform: {
      filter: { id: UNUSED.map(([file]) => file) },
      handler: (code, id, { magicString }) => {
        if (!magicString) throw new Error('There is no magicString: rolldown has another name for it now.');
        for (const [, part, instead = ''] of UNUSED.filter(([file]) => file.test(id))) {
          const found = part.global
            ? [...code.matchAll(part)]
            : [part.exec(code) ?? []].filter(({ length }) => length > 0);
          if (found.length === 0) throw new Error(`${id} has no ${part} any more.`);
          for (const { 0: text, index } of found as RegExpExecArray[])
            magicString.update(index, index + text.length, instead);
        }
        return { code: magicString };
      },
    },
  };
}

/** What an error of jose says, which nobody is told: a caller gets a sentence of the edge. */
const WORDS_OF_JOSE =
  /(?<=new (?:Type)?Err(?:or|orClass)?\(|new J[A-Z]+\w*\()(?:"(?:[^"\n\\]|\\.)*"|'[^'\n]*'|`[^`\n]*`)(?=[,)])/g;

/** Makes a plugin that leaves out the words of errors that are known by their classes. */
function leaveOutWords(): Plugin {
  return {
    name: 'leave-out-words',
    transform: {
      filter: { id: /\/jose\/dist\/webapi\// },
      handler: (_code, _id, { magicString }) => {
        if (!magicString) throw new Error('There is no magicString: rolldown has another name for it now.');
        return { code: magicString.replaceAll(WORDS_OF_JOSE, '""') };
      },
    },
  };
}

/** @returns whether a text begins as SQL does. */
function isSql({ quasis: [first] }: ESTree.TemplateLiteral): boolean {
  return new RegExp(`^${SQL}`).test(first?.value.raw ?? '');
}
