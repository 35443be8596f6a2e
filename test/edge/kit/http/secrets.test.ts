import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { StreamErrorMasker } from '#edge/claude/relay/error-mask.ts';
import { maskSecrets, maskSecretsInJson, registerSecrets, trimPartialSecretAtEnd } from '#edge/kit/http/secrets.ts';
import { tryCases } from '#test/support/property-cases.ts';

const OWNER = 'test';
/** Without a backslash: nobody can say which of several it is where it stands beside one that escapes. */
const SECRET = 'sk+live/7f:"Q9=xzaB&?~c%41d';

afterEach(() => registerSecrets(OWNER, []));

const hex = (character: string, digits: number, isUpper: boolean) => {
  const written = character.charCodeAt(0).toString(16).padStart(digits, '0');
  return isUpper ? written.toUpperCase() : written;
};
/** How one character may be written: in JSON, in JSON within JSON, in a URL. */
const spelling = (character: string) =>
  fc.tuple(fc.constantFrom('plain', 'json', 'twice', 'url', 'escaped'), fc.boolean()).map(([how, isUpper]) => {
    switch (how) {
      case 'json':
        return `\\u${hex(character, 4, isUpper)}`;
      case 'twice':
        return `\\\\u${hex(character, 4, isUpper)}`;
      case 'url':
        return `%${hex(character, 2, isUpper)}`;
      case 'escaped':
        return JSON.stringify(character).slice(1, -1);
      default:
        return character;
    }
  });
const secret = fc.string({ minLength: 16, maxLength: 60, unit: fc.constantFrom(...SECRET) });
const spelled = secret.chain((of) =>
  fc.tuple(
    fc.constant(of),
    fc.tuple(...[...of].map(spelling)).map((parts) => parts.join('')),
  ),
);
const around = fc.string({ maxLength: 20, unit: fc.constantFrom('x', ' ', ',', '{', '7', '_') });

describe('a registered secret of 16 characters or more', () => {
  test('is masked for any mix of JSON and URL escapes of its characters', () => {
    tryCases(100, spelled, around, around, ([of, written], before, behind) => {
      // As with a backslash: nobody can say what a last `%` is if digits follow.
      fc.pre(!(/%[\da-f]?$/i.test(written) && behind.startsWith('7')));
      registerSecrets(OWNER, [of]);
      expect(maskSecrets(before + written + behind)).toBe(`${before}[secret]${behind}`);
    });
  });

  test('shows at most seven of its characters in a text that is cut within it', () => {
    tryCases(10, spelled, ([of, written]) => {
      registerSecrets(OWNER, [of]);
      for (let end = 0; end < written.length; end += 1) {
        const rest = trimPartialSecretAtEnd(maskSecrets(`x${written.slice(0, end)}`));
        expect(rest.length).toBeLessThanOrEqual(1 + 8 * 9);
        expect(rest).not.toContain(of.slice(0, 8));
      }
    });
  });

  test('is masked if it contains an apparent escape, with its characters escaped in various ways', () => {
    registerSecrets(OWNER, ['%fdssssssssssssssssssssssss%cessssss']);
    const written = '%f%64ssssssssssssssssssssssss%ces\\\\u0073%73\\\\u0073%73s';
    expect(maskSecrets(`a ${written} b`)).toBe('a [secret] b');
    expect(maskSecrets(`a ${encodeURIComponent(encodeURIComponent('%fdssssssssssssssssssssssss%cessssss'))} b`)).toBe(
      'a [secret] b',
    );
  });

  test('is masked within base64 at any offset, in both alphabets', () => {
    tryCases(100, secret, around, around, fc.boolean(), (of, before, behind, isUrl) => {
      registerSecrets(OWNER, [of]);
      const base64 = btoa(before + of + behind);
      const written = isUrl ? base64.replaceAll('+', '-').replaceAll('/', '_') : base64;
      const rest = maskSecrets(`a: ${written}`);
      expect(rest).toContain('[secret]');
      expect(rest.length).toBeLessThan(3 + written.length - Math.floor((of.length * 4) / 3) + 12);
    });
  });

  test('is masked in the values and names of parsed JSON', () => {
    tryCases(100, spelled, fc.json(), ([of, written], other) => {
      registerSecrets(OWNER, [of]);
      const value = { list: [`a${of}b`, written, 7, null], [of]: { deep: of }, other: JSON.parse(other) };
      expect(JSON.stringify(maskSecretsInJson(value))).not.toContain(JSON.stringify(of).slice(1, -1));
      expect(maskSecretsInJson(JSON.parse(other))).toEqual(JSON.parse(other));
    });
  });

  test('is masked in the error event of a stream that is split at any byte', () => {
    registerSecrets(OWNER, [SECRET]);
    const written = [...SECRET].map((one, at) =>
      at % 2 ? `\\u${hex(one, 4, at % 4 === 1)}` : `%${hex(one, 2, true)}`,
    );
    const bytes = new TextEncoder().encode(`event: error\ndata: {"error":{"message":"key ${written.join('')}!"}}\n\n`);
    for (let at = 0; at <= bytes.length; at += 1) {
      const mask = new StreamErrorMasker();
      const pieces = [
        mask.maskPiece(bytes.slice(0, at)).slice(),
        mask.maskPiece(bytes.slice(at)).slice(),
        mask.takeUnsentBytes(),
      ];
      const text = pieces.map((piece) => new TextDecoder().decode(piece)).join('');
      expect(text).toBe('event: error\ndata: {"error":{"message":"key [secret]!"}}\n\n');
    }
  });
});

test('masks a secret below 16 characters only in its plain spelling', () => {
  registerSecrets(OWNER, ['abcd+efgh']);
  expect(maskSecrets('my abcd+efgh')).toBe('my [secret]');
  expect(maskSecrets('my abcd\\u002befgh')).toBe('my abcd\\u002befgh');
});

test('returns a long text full of partial secrets unchanged', () => {
  registerSecrets(OWNER, [`${'A'.repeat(40)}B`]);
  const text = '%41\\u0041'.repeat(20_000);
  expect(maskSecrets(text)).toBe(text);
});

test('masks secrets that contain apparent escapes or several lines', () => {
  for (const secret of [
    'ab%41cd%42ef%43gh%44',
    'C:\\new\\u0041\\folder-of-keys',
    '-----BEGIN KEY-----\nMII+/abc\n-----END KEY-----\n',
  ]) {
    registerSecrets(OWNER, [secret]);
    const inJson = JSON.stringify(secret).slice(1, -1);
    const inURL = encodeURIComponent(secret);
    for (const written of [
      secret,
      inJson,
      inURL,
      inURL.replace(/%../g, (one) => one.toLowerCase()),
      inJson.replaceAll('+', '\\u002B'),
    ]) {
      expect(maskSecrets(`x ${written} y`)).toMatch(/^x \[secret\].{0,2} y$/s);
    }
  }
});
