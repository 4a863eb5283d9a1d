// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// An ERC-20 token, as small as it can be. It pays several at once, and keeps a part of each payment where it is told to.
contract Token {
    event Transfer(address indexed from, address indexed to, uint256 value);

    string public constant name = "Dollar";
    string public constant symbol = "USD";
    uint8 public immutable decimals;
    uint256 public immutable feePercent;
    mapping(address => uint256) public balanceOf;

    constructor(uint8 decimals_, uint256 feePercent_) {
        decimals = decimals_;
        feePercent = feePercent_;
        balanceOf[msg.sender] = 10 ** (12 + uint256(decimals_));
    }

    function transfer(address to, uint256 value) public returns (bool) {
        uint256 fee = value * feePercent / 100;
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value - fee;
        balanceOf[address(this)] += fee;
        emit Transfer(msg.sender, to, value - fee);
        if (fee > 0) emit Transfer(msg.sender, address(this), fee);
        return true;
    }

    function transferAll(address[] calldata to, uint256[] calldata values) external {
        for (uint256 i = 0; i < to.length; i++) transfer(to[i], values[i]);
    }
}
