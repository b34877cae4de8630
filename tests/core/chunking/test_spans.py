"""Every supported language: the definitions of a small realistic file are found with their qualified names."""

from __future__ import annotations

import pytest

from codeintel_core.chunking.languages import language_of
from codeintel_core.chunking.spans import outline_of

SAMPLES: dict[str, tuple[str, str]] = {
    "app/models.py": (
        '''"""Models."""
import os
from typing import Any, Optional as Opt

LIMIT = 10
TIMEOUT_S: float = 1.5

# Registers handlers
# by name.
@decorate
class User(Base):
    """A person."""

    role = "user"

    @property
    def full_name(self) -> str:
        """First and last."""
        return self.first + self.last

    async def save(self, db: Any) -> None:
        def inner():
            return 1
        await db.put(inner())

def main() -> int:
    return User().full_name
''',
        "constant LIMIT|constant TIMEOUT_S|class User|field User.role|method User.full_name|method User.save"
        "|function User.save.inner|function main",
    ),
    "web/app.js": (
        """import React, { useState } from 'react';
const fs = require('fs');
/** Adds numbers. */
export function add(a, b) { return a + b; }
export const twice = (x) => { return add(x, x); };
class Store extends Base {
  #count = 0;
  constructor() { super(); }
  get size() { return this.#count; }
}
Store.prototype.clear = function () { return 1; };
exports.run = function run() {};
""",
        "constant fs|function add|function twice|class Store|field Store.#count|method Store.constructor"
        "|method Store.size|method Store.clear|method exports.run",
    ),
    "web/card.jsx": (
        "export default function Card({ title }) {\n  return <Frame title={title} />;\n}\n",
        "function Card",
    ),
    "web/api.ts": (
        """import { Http } from './http';
export interface Options { timeout: number; retry?: boolean; }
export type Id = string | number;
export enum Color { Red, Green }
namespace Geo { export function area(r: number): number { return r; } }
@Injectable()
export class Client implements Api {
  private base: string = '';
  constructor(private http: Http) {}
  @Log()
  async get<T>(path: string): Promise<T> { return this.http.get(path); }
}
export abstract class Shape { abstract area(): number; }
export const VERSION = '1';
export const build = async (o: Options): Promise<Client> => new Client(o.http);
""",
        "interface Options|type Id|enum Color|module Geo|function Geo.area|class Client|field Client.base"
        "|method Client.constructor|method Client.get|class Shape|method Shape.area|constant VERSION|function build",
    ),
    "web/view.tsx": (
        "interface Props { a: number }\nexport const View = (p: Props) => <div>{p.a}</div>;\n",
        "interface Props|function View",
    ),
    "src/main/java/App.java": (
        """package com.acme;

import java.util.List;

/** An app. */
@Service
public class App<T> extends Base implements Runnable {
  private static final int MAX = 3;

  public App() {}

  @Override
  public void run() { helper(MAX); }

  enum Mode { ON, OFF }
  interface Hook { void call(); }
  record Point(int x, int y) {}
}
@interface Marker {}
""",
        "class App|field App.MAX|method App.App|method App.run|enum App.Mode|interface App.Hook"
        "|method App.Hook.call|class App.Point|interface Marker",
    ),
    "server/main.go": (
        """package server

import (
	"fmt"
	h "net/http"
)

const Limit = 10
const (
	A = iota
	B
)

var ErrGone = fmt.Errorf("gone")

// Engine serves.
type Engine struct {
	addr string
}

type Handler interface {
	Serve(w h.ResponseWriter)
}
type ID = string
type Num int

// Run starts it.
func (e *Engine) Run() error { return nil }

func New[T any](addr string) *Engine { return &Engine{addr: addr} }
""",
        "constant Limit|constant A|constant B|variable ErrGone|struct Engine|field Engine.addr|interface Handler"
        "|type ID|type Num|method Engine.Run|function New",
    ),
    "src/lib.rs": (
        """use std::fmt;

/// The limit.
pub const LIMIT: usize = 3;
static NAME: &str = "x";

/// A point.
#[derive(Debug)]
pub struct Point { x: i32 }

enum Shape { Dot, Line(i32) }
type Alias = Point;

trait Area { fn area(&self) -> f64; }

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result { Ok(()) }
}

impl<T> Wrapper<T> {
    pub fn new() -> Self { todo!() }
}

macro_rules! add { ($a:expr) => { $a } }

mod tests {
    #[test]
    fn works() { assert!(true); }
}
""",
        "constant LIMIT|constant NAME|struct Point|field Point.x|enum Shape|type Alias|trait Area"
        "|method Area.area|impl Point|method Point.fmt|impl Wrapper|method Wrapper.new|macro add"
        "|module tests|function tests.works",
    ),
    "src/list.c": (
        """#include <stdio.h>
#define MAX 10
#define SQUARE(x) ((x) * (x))

/* A node. */
struct node { int value; struct node *next; };
typedef unsigned long size;
enum color { RED, GREEN };

static int push(struct node *n, int v)
{
    return n->value + v;
}

char *name(void) { return "x"; }
""",
        "constant MAX|macro SQUARE|struct node|type size|enum color|function push|function name",
    ),
    "src/shape.cpp": (
        """#include <vector>
namespace geo {
template <typename T>
class Shape : public Base {
 public:
  Shape() {}
  virtual double area() const { return 0; }
};
double Circle::area() const { return 3.14; }
template <typename T>
T largest(T a, T b) { return a > b ? a : b; }
}
""",
        "module geo|class geo.Shape|method geo.Shape.Shape|method geo.Shape.area|method geo.Circle.area"
        "|function geo.largest",
    ),
    "src/Service.cs": (
        """using System;
namespace Acme.Core
{
    /// <summary>A service.</summary>
    [Serializable]
    public class Service : IService
    {
        private const int Max = 3;
        public string Name { get; set; }
        public Service() { }
        public void Run(int n) { Console.WriteLine(n); }
    }
    public interface IService { void Run(int n); }
    public struct P { public int X; }
    public enum Mode { On }
    public record Point(int X);
}
""",
        "module Acme.Core|class Acme.Core.Service|field Acme.Core.Service.Max|field Acme.Core.Service.Name"
        "|method Acme.Core.Service.Service|method Acme.Core.Service.Run|interface Acme.Core.IService"
        "|method Acme.Core.IService.Run|struct Acme.Core.P|field Acme.Core.P.X|enum Acme.Core.Mode"
        "|class Acme.Core.Point",
    ),
    "lib/user.rb": (
        """require 'json'
module Acme
  LIMIT = 3
  # A user.
  class User < Base
    def initialize(name)
      @name = name
    end

    def self.find(id) = new(id)
  end
end
""",
        "module Acme|constant Acme.LIMIT|class Acme.User|method Acme.User.initialize|method Acme.User.find",
    ),
    "src/Repo.php": (
        """<?php
namespace App;
use App\\Models\\User;
const LIMIT = 3;
/** Finds users. */
final class Repo extends Base {
    const MAX = 1;
    private $db;
    public function find(int $id): ?User { return $this->db->get($id); }
}
interface Finder { public function find(int $id); }
trait Logs { function log() {} }
enum Suit { case Hearts; }
function helper($x) { return $x; }
""",
        "constant LIMIT|class Repo|field Repo.MAX|field Repo.$db|method Repo.find|interface Finder"
        "|method Finder.find|trait Logs|method Logs.log|enum Suit|function helper",
    ),
    "src/App.kt": (
        """package com.acme

import java.util.UUID

const val LIMIT = 3

/** A user. */
data class User(val name: String) {
    fun greet(): String = "hi $name"
    companion object {
        fun make() = User("x")
    }
}
interface Named {
    val label: String
}
object Registry {
    fun add(u: User) {}
}
fun String.shout(): String = uppercase()
""",
        "constant LIMIT|class User|method User.greet|method User.make|interface Named|field Named.label"
        "|class Registry|method Registry.add|function shout",
    ),
    "src/App.scala": (
        """package acme
import scala.collection.mutable

trait Named { def name: String }
case class User(name: String) extends Named {
  val limit = 3
  def greet(other: User): String = s"hi ${other.name}"
}
object Registry { def add(u: User): Unit = () }
""",
        "trait Named|method Named.name|class User|field User.limit|method User.greet|class Registry"
        "|method Registry.add",
    ),
    "Sources/App.swift": (
        """import Foundation
let limit = 3
protocol Named { func label() -> String }
/// A user.
public class User: Named {
    var name: String
    init(name: String) { self.name = name }
    func label() -> String { return name }
}
struct Point { var x: Int }
enum Mode { case on }
extension User { func shout() {} }
func helper(_ x: Int) -> Int { return x }
""",
        "constant limit|interface Named|method Named.label|class User|field User.name|method User.init"
        "|method User.label|struct Point|field Point.x|enum Mode|class User|method User.shout|function helper",
    ),
    "bin/run.sh": (
        '#!/bin/bash\nLIMIT=3\n# Says hello.\nhello() {\n  echo "$1"\n}\nfunction bye { echo bye; }\nhello x\n',
        "constant LIMIT|function hello|function bye",
    ),
    "db/schema.sql": (
        "CREATE TABLE users (id INT PRIMARY KEY, name TEXT);\n\n"
        "CREATE VIEW active AS SELECT * FROM users;\n"
        "CREATE INDEX by_name ON users (name);\n",
        "class users|class active|constant by_name",
    ),
    "README.md": (
        "# Title\n\nIntro.\n\n## Install\n\n```sh\n# not a heading\n```\n\nUsage\n-----\n\ntext\n",
        "section Title|section Title > Install|section Title > Usage",
    ),
    "package.json": (
        '{\n  "name": "x",\n  "scripts": {\n    "test": "run"\n  }\n}\n',
        "key name|key scripts",
    ),
    "ci.yml": ("# CI\nname: ci\non: [push]\njobs:\n  test:\n    steps: []\n", "key name|key on|key jobs"),
    "pyproject.toml": (
        'title = "x"\n[project]\nname = "y"\n[[tool.items]]\na = 1\n',
        "key title|key project|key tool.items",
    ),
    "index.html": (
        '<html>\n<head><title>x</title></head>\n<body>\n<div id="main">hi</div>\n</body>\n</html>\n',
        "",
    ),
    "site.css": (".card { color: red; }\n@media print {\n  p { margin: 0; }\n}\n", ""),
}


@pytest.mark.parametrize("path", SAMPLES)
def test_definitions(path: str) -> None:
    source, expected = SAMPLES[path]
    language = language_of(path, source.encode())
    outline = outline_of(language, source.encode())
    assert outline is not None
    found = [f"{d.kind} {d.symbol}" for d in outline.definitions]
    assert "|".join(found) == expected
