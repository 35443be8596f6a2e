/** The types of the installed SDK, read from its `.d.ts` files: the forms of what may be sent, and the methods that send it. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ESTree, parseSync } from 'vite';

const sdkRoot = join(import.meta.dirname, '../../../node_modules/@anthropic-ai/sdk/');

/** @returns the text of a file of the SDK */
export function readInstalledFile(file: string): string {
  return readFileSync(sdkRoot + file, 'utf8');
}

export interface Member {
  name: string;
  optional: boolean;
  shape: Shape;
}

/** An interface, or an object type without a name of its own. */
export interface ObjectShape {
  kind: 'object';
  name: string;
  /** Whether it can have any further members. */
  isOpen: boolean;
  /** Read when they are asked for, since a type may contain itself. */
  readonly members: readonly Member[];
}

/** What a type allows. A type that is not JSON (a file that is uploaded) is `other`. */
export type Shape =
  | ObjectShape
  | { kind: 'union'; name: string; readonly variants: readonly Shape[] }
  | { kind: 'list'; item: Shape }
  | { kind: 'map'; value: Shape }
  | { kind: 'literal'; value: string | number | boolean | null }
  | { kind: 'string' | 'number' | 'boolean' | 'any' }
  | { kind: 'other'; name: string };

/** A method of a resource, by the forms of what it takes. One with several signatures has the first one's. */
export interface Method {
  name: string;
  parameters: { name: string; optional: boolean; shape: Shape }[];
}

type Declaration =
  | ESTree.TSInterfaceDeclaration
  | ESTree.TSTypeAliasDeclaration
  | ESTree.Class
  | ESTree.TSModuleDeclaration;

/** Where a name stands: its file, and the namespaces around it. */
interface DeclarationScope {
  file: string;
  namespace: string;
}

interface Module {
  /** By their names, those in a namespace as `Outer.Inner`. */
  declarations: Map<string, Declaration>;
  /** What a name of another file is called there; `*` for all of that file. */
  imports: Map<string, { file: string; name: string }>;
  /** Files whose every name is one of this file's. */
  all: string[];
}

/** The types of the SDK. */
export class SdkTypes {
  readonly #editedFiles: ReadonlyMap<string, string>;
  readonly #modules = new Map<string, Module>();
  readonly #shapes = new Map<object, Shape>();

  /** @param edited what stands in files in place of what is installed, by their paths in the SDK */
  constructor(edited: ReadonlyMap<string, string> = new Map()) {
    this.#editedFiles = edited;
  }

  /** @returns the form of an exported type. @param file its path in the SDK, such as `resources/files.d.ts` */
  readShape(file: string, name: string): Shape {
    return this.#readNamedShape(name, { file, namespace: '' }) ?? throwMissing(name, file);
  }

  /** @returns the methods of the resources of the client, by their paths, such as `beta.messages`. */
  listResources(): Map<string, Method[]> {
    const found = new Map<string, Method[]>();
    this.#collectMethods('Anthropic', { file: 'client.d.ts', namespace: '' }, [], found);
    found.delete('');
    return found;
  }

  #collectMethods(name: string, place: DeclarationScope, path: string[], found: Map<string, Method[]>): void {
    const at = this.#findDeclaration(name, place);
    if (at?.node.type !== 'ClassDeclaration') return;
    const methods = new Map<string, Method>();
    for (const member of at.node.body.body) {
      if (!('key' in member) || member.key.type !== 'Identifier') continue;
      const { name: key } = member.key;
      if (member.type === 'MethodDefinition' || member.type === 'TSAbstractMethodDefinition') {
        if (!methods.has(key))
          methods.set(key, { name: key, parameters: this.#readParameters(member.value, at.place) });
      } else if (member.type === 'PropertyDefinition') {
        const type = member.typeAnnotation?.typeAnnotation;
        if (type?.type !== 'TSTypeReference') continue;
        this.#collectMethods(qualifiedNameOf(type.typeName), at.place, [...path, key], found);
      }
    }
    found.set(path.join('.'), [...methods.values()]);
  }

  #readParameters({ params }: ESTree.Function, place: DeclarationScope): Method['parameters'] {
    return params.flatMap((parameter) => {
      if (parameter.type !== 'Identifier') return [];
      const { name, optional = false, typeAnnotation } = parameter;
      const type = typeAnnotation?.typeAnnotation;
      return [{ name, optional: optional ?? false, shape: type ? this.#toShape(type, place, name) : { kind: 'any' } }];
    });
  }

  #readModule(file: string): Module {
    const known = this.#modules.get(file);
    if (known) return known;
    const module: Module = { declarations: new Map(), imports: new Map(), all: [] };
    this.#modules.set(file, module);
    const text = this.#editedFiles.get(file) ?? readInstalledFile(file);
    const { program, errors } = parseSync(file, text);
    if (errors[0]) throw new Error(`${file}: ${errors[0].message}`);
    noteDeclarations(program.body, '', file, module);
    return module;
  }

  /** Finds a declaration by its name as it is written somewhere. */
  #findDeclaration(
    name: string,
    { file, namespace: within }: DeclarationScope,
  ): { node: Declaration; place: DeclarationScope; name: string } | undefined {
    if (!this.#editedFiles.has(file) && !existsSync(sdkRoot + file)) return undefined;
    const { declarations, imports, all } = this.#readModule(file);
    for (let scope = within; ; scope = scope.slice(0, Math.max(0, scope.lastIndexOf('.')))) {
      const full = scope === '' ? name : `${scope}.${name}`;
      const node = declarations.get(full);
      if (node)
        return { node, place: { file, namespace: full.slice(0, Math.max(0, full.lastIndexOf('.'))) }, name: full };
      if (scope === '') break;
    }
    const [first = '', ...rest] = name.split('.');
    const from = imports.get(first);
    if (from) {
      const there = [...(from.name === '*' ? [] : [from.name]), ...rest].join('.');
      return this.#findDeclaration(there, { file: from.file, namespace: '' });
    }
    for (const other of all) {
      const found = this.#findDeclaration(name, { file: other, namespace: '' });
      if (found) return found;
    }
    return undefined;
  }

  #readNamedShape(name: string, place: DeclarationScope): Shape | undefined {
    const found = this.#findDeclaration(name, place);
    if (!found) return undefined;
    const { node } = found;
    const known = this.#shapes.get(node);
    if (known) return known;
    if (node.type === 'TSTypeAliasDeclaration') {
      const shape = this.#toShape(node.typeAnnotation, found.place, found.name);
      this.#shapes.set(node, shape);
      return shape;
    }
    if (node.type !== 'TSInterfaceDeclaration') return { kind: 'other', name };
    const listInherited = () =>
      (node.extends ?? []).flatMap(({ expression }) => {
        const base = this.#readNamedShape(qualifiedNameOf(expression), found.place);
        return base ? membersOf(base) : [];
      });
    const shape = createLazyObject(
      found.name,
      () => mergeMembers([...listInherited(), ...this.#readMembers(node.body.body, found.place, found.name)]),
      node.body.body.some(({ type }) => type === 'TSIndexSignature'),
    );
    this.#shapes.set(node, shape);
    return shape;
  }

  #readMembers(signatures: readonly ESTree.TSSignature[], place: DeclarationScope, owner: string): Member[] {
    return signatures.flatMap((signature) => {
      if (signature.type !== 'TSPropertySignature') return [];
      const { key, optional, typeAnnotation } = signature;
      const name = key.type === 'Identifier' ? key.name : key.type === 'Literal' ? String(key.value) : '';
      if (name === '' || !typeAnnotation) return [];
      return [{ name, optional, shape: this.#toShape(typeAnnotation.typeAnnotation, place, `${owner}.${name}`) }];
    });
  }

  /** @param name what the type is called where it has no name of its own */
  #toShape(type: ESTree.TSType, place: DeclarationScope, name: string): Shape {
    switch (type.type) {
      case 'TSStringKeyword':
        return { kind: 'string' };
      case 'TSNumberKeyword':
        return { kind: 'number' };
      case 'TSBooleanKeyword':
        return { kind: 'boolean' };
      case 'TSNullKeyword':
        return { kind: 'literal', value: null };
      case 'TSUnknownKeyword':
      case 'TSAnyKeyword':
      case 'TSObjectKeyword':
        return { kind: 'any' };
      case 'TSLiteralType':
        return type.literal.type === 'Literal'
          ? { kind: 'literal', value: type.literal.value as string | number | boolean }
          : { kind: 'string' };
      case 'TSParenthesizedType':
        return this.#toShape(type.typeAnnotation, place, name);
      case 'TSTypeOperator':
        return this.#toShape(type.typeAnnotation, place, name);
      case 'TSArrayType':
        return { kind: 'list', item: this.#toShape(type.elementType, place, name) };
      case 'TSTypeLiteral': {
        const index = type.members.find((member) => member.type === 'TSIndexSignature');
        return index === undefined
          ? createLazyObject(name, () => this.#readMembers(type.members, place, name))
          : { kind: 'map', value: this.#toShape(index.typeAnnotation.typeAnnotation, place, name) };
      }
      case 'TSUnionType':
        return createUnion(name, () =>
          type.types
            .filter(({ type: kind }) => kind !== 'TSUndefinedKeyword')
            .map((one) => this.#toShape(one, place, name)),
        );
      case 'TSIntersectionType': {
        const parts = type.types.map((one) => this.#toShape(one, place, name));
        // `string & {}` is a string that editors complete.
        const scalar = parts.find(({ kind }) => kind === 'string');
        return scalar ?? createLazyObject(name, () => mergeMembers(parts.flatMap(membersOf)));
      }
      case 'TSTypeReference': {
        const reference = qualifiedNameOf(type.typeName);
        const [argument] = type.typeArguments?.params ?? [];
        if (reference === 'Array' && argument) return { kind: 'list', item: this.#toShape(argument, place, name) };
        const [, value] = type.typeArguments?.params ?? [];
        if (reference === 'Record' && value) return { kind: 'map', value: this.#toShape(value, place, name) };
        return this.#readNamedShape(reference, place) ?? { kind: 'other', name: reference };
      }
      default:
        return { kind: 'other', name: type.type };
    }
  }
}

/** Notes what a file declares, imports and passes on. */
function noteDeclarations(body: readonly ESTree.Node[], within: string, file: string, module: Module): void {
  const qualifyName = (name: string) => (within === '' ? name : `${within}.${name}`);
  for (const statement of body) {
    if (statement.type === 'ImportDeclaration' || statement.type === 'ExportNamedDeclaration') {
      const from = statement.source && resolvePath(statement.source.value, file);
      for (const one of from ? statement.specifiers : []) {
        const name = 'imported' in one ? one.imported : one.type === 'ExportSpecifier' ? one.local : undefined;
        const local = one.type === 'ExportSpecifier' ? one.exported : one.local;
        module.imports.set(textOf(local), { file: from ?? '', name: name ? textOf(name) : '*' });
      }
    }
    if (statement.type === 'ExportAllDeclaration') module.all.push(resolvePath(statement.source.value, file));
    const declared = statement.type === 'ExportNamedDeclaration' ? statement.declaration : statement;
    switch (declared?.type) {
      case 'TSInterfaceDeclaration':
      case 'TSTypeAliasDeclaration':
      case 'ClassDeclaration':
        if (declared.id) module.declarations.set(qualifyName(declared.id.name), declared);
        break;
      case 'TSModuleDeclaration':
        if (declared.body?.type === 'TSModuleBlock') {
          noteDeclarations(declared.body.body, qualifyName(textOf(declared.id)), file, module);
        }
    }
  }
}

/** @returns the path in the SDK of a file that another imports */
function resolvePath(source: string, from: string): string {
  return new URL(source.replace(/\.m?js$/, '.d.ts'), `file:///${from}`).pathname.slice(1);
}

/** @returns a name as it is written, `Outer.Inner` for a qualified one */
function qualifiedNameOf(node: ESTree.Node): string {
  if (node.type === 'TSQualifiedName') return `${qualifiedNameOf(node.left)}.${node.right.name}`;
  return textOf(node);
}

function textOf(node: ESTree.Node): string {
  if (node.type === 'Identifier') return node.name;
  return node.type === 'Literal' ? String(node.value) : '';
}

function createLazyObject(name: string, readLazily: () => Member[], isOpen = false): ObjectShape {
  let members: Member[] | undefined;
  return {
    kind: 'object',
    name,
    isOpen,
    get members() {
      members ??= readLazily();
      return members;
    },
  };
}

function createUnion(name: string, readLazily: () => Shape[]): Shape {
  let variants: Shape[] | undefined;
  return {
    kind: 'union',
    name,
    get variants() {
      variants ??= readLazily().flatMap((one) => (one.kind === 'union' ? one.variants : [one]));
      return variants;
    },
  };
}

/** @returns the members of an object, or those of all objects of a union */
export function membersOf(shape: Shape): readonly Member[] {
  if (shape.kind === 'union') return mergeMembers(shape.variants.flatMap(membersOf));
  return shape.kind === 'object' ? shape.members : [];
}

/** @returns members by their names: of several with one name the last */
function mergeMembers(members: readonly Member[]): Member[] {
  return [...new Map(members.map((member) => [member.name, member])).values()];
}

function throwMissing(name: string, file: string): never {
  throw new Error(`The SDK has no type ${name} in ${file} any more: the test must name what took its place.`);
}
